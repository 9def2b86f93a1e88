//! What a GPU is.

use cudarc::driver::{CudaContext, sys};

use super::Fault;

/// Reads one attribute of a device.
macro_rules! attribute {
    ($context:expr, $name:ident) => {
        $context.attribute(sys::CUdevice_attribute_enum::$name).map_err(Fault::of(stringify!($name)))
    };
}

/// What a GPU says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// As NVIDIA sells it.
    pub name: String,
    /// `GPU-…`, or `MIG-…` for a part of one; what a card is known by after a reboot.
    pub uuid: String,
    /// `domain:bus:device.function`.
    pub pci_bus_id: String,
    /// Major and minor.
    pub compute_capability: (u32, u32),
    /// All there is, in bytes.
    pub memory_bytes: u64,
    /// The newest CUDA that the driver knows, major and minor.
    pub cuda: (u32, u32),
    /// The kernel module's version, where the system tells it.
    pub driver: Option<String>,
    /// A part of a GPU that was divided.
    pub mig: bool,
}

impl Facts {
    pub(super) fn read(context: &CudaContext) -> Result<Self, Fault> {
        let name = context.name().map_err(Fault::of("cuDeviceGetName"))?;
        let mig = name.contains(" MIG ");
        let uuid = uuid(context)?;
        let domain = attribute!(context, CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID)?;
        let bus = attribute!(context, CU_DEVICE_ATTRIBUTE_PCI_BUS_ID)?;
        let device = attribute!(context, CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID)?;
        let major = attribute!(context, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute!(context, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        let mut version = 0;
        // SAFETY: it writes one integer.
        let status = unsafe { sys::cuDriverGetVersion(&raw mut version) };
        status.result().map_err(Fault::of("cuDriverGetVersion"))?;
        Ok(Self {
            name,
            uuid: uuid_text(mig, uuid),
            pci_bus_id: format!("{domain:04x}:{bus:02x}:{device:02x}.0"),
            compute_capability: (major.unsigned_abs(), minor.unsigned_abs()),
            memory_bytes: context.total_mem().map_err(Fault::of("cuDeviceTotalMem"))? as u64,
            cuda: (version.unsigned_abs() / 1000, version.unsigned_abs() % 1000 / 10),
            driver: std::fs::read_to_string("/proc/driver/nvidia/version").ok().as_deref().and_then(module_version),
            mig,
        })
    }
}

/// The part's own for a part of a GPU, which the function's first version answers with the whole one's.
fn uuid(context: &CudaContext) -> Result<[u8; 16], Fault> {
    let mut uuid = sys::CUuuid { bytes: [0; 16] };
    // SAFETY: it writes 16 bytes.
    let status = unsafe { sys::cuDeviceGetUuid_v2(&raw mut uuid, context.cu_device()) };
    status.result().map_err(Fault::of("cuDeviceGetUuid"))?;
    Ok(uuid.bytes.map(|byte| byte as u8))
}

/// As `nvidia-smi -L` writes it.
fn uuid_text(mig: bool, bytes: [u8; 16]) -> String {
    let mut text = String::from(if mig { "MIG" } else { "GPU" });
    for (place, byte) in bytes.into_iter().enumerate() {
        if matches!(place, 0 | 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text += &format!("{byte:02x}");
    }
    text
}

/// The version in `NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 …`.
fn module_version(text: &str) -> Option<String> {
    let dotted = |word: &&str| word.contains('.') && word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.lines().next()?.split_whitespace().find(dotted).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_written_as_nvidia_smi_does() {
        let bytes = std::array::from_fn(|place| place as u8 * 17);
        assert_eq!(uuid_text(false, bytes), "GPU-00112233-4455-6677-8899-aabbccddeeff");
        assert!(uuid_text(true, bytes).starts_with("MIG-"));
    }

    #[test]
    fn the_modules_version_is_found_in_both_kinds_of_driver() {
        let closed = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\nGCC";
        let open = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build";
        assert_eq!(module_version(closed).as_deref(), Some("535.104.05"));
        assert_eq!(module_version(open).as_deref(), Some("580.65.06"));
        assert_eq!(module_version("nothing"), None);
    }
}
