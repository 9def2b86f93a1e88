//! Kernels on a GPU.

use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaFunction, DeviceRepr, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::Ptx;

use super::{Given, Kernel, Machine};
use crate::device::{Device, Fault, Memory};

/// What `kernels/ptx.sh` made of `kernels/scale.cu`.
const PTX: &str = include_str!("../../kernels/scale.ptx");

/// Threads of a block: neighbours in a row read neighbours in memory.
const BLOCK: (u32, u32) = (64, 4);

/// What a device's driver compiled.
#[derive(Debug)]
pub(crate) struct Functions([CudaFunction; Kernel::ALL.len()]);

impl Functions {
    /// Has the driver compile the kernels; where it may write, it keeps the result for other processes.
    pub(crate) fn load(context: &Arc<CudaContext>) -> Result<Self, Fault> {
        let module = context.load_module(Ptx::from_src(PTX)).map_err(Fault::of("cuModuleLoadData"))?;
        let mut functions = Vec::with_capacity(Kernel::ALL.len());
        for kernel in Kernel::ALL {
            functions.push(module.load_function(kernel.name()).map_err(Fault::of("cuModuleGetFunction"))?);
        }
        Ok(Self(functions.try_into().expect("there should be one function for each kernel")))
    }
}

/// A device that has the kernels.
#[derive(Debug, Clone)]
pub(crate) struct OnDevice(Device);

impl OnDevice {
    /// Has the kernels compiled, the first time.
    pub(crate) fn load(device: &Device) -> Result<Self, Fault> {
        device.functions()?;
        Ok(Self(device.clone()))
    }

    pub(crate) fn device(&self) -> &Device {
        &self.0
    }
}

/// A kernel's one argument, as cudarc takes it.
#[repr(transparent)]
struct Argument<G>(G);

// SAFETY: what a kernel is given is plain numbers, laid out as the kernel's own struct.
unsafe impl<G: Given> DeviceRepr for Argument<G> {}

impl Machine for OnDevice {
    type Memory = Memory;
    type Fault = Fault;

    fn allocate(&self, bytes: usize) -> Result<Memory, Fault> {
        self.0.allocate(bytes)
    }

    fn hold(&self, content: &[u8]) -> Result<Memory, Fault> {
        self.0.hold(content)
    }

    fn address(memory: &Memory) -> u64 {
        memory.address()
    }

    unsafe fn run<G: Given>(&self, kernel: Kernel, given: &G, width: u32, height: u32) -> Result<(), Fault> {
        debug_assert!(G::KERNELS.contains(&kernel), "{kernel:?} is given what another takes");
        let function = &self.0.functions()?.0[kernel as usize];
        let argument = Argument(*given);
        let mut launch = self.0.cuda_stream().launch_builder(function);
        launch.arg(&argument);
        let config = LaunchConfig {
            grid_dim: (width.div_ceil(BLOCK.0), height.div_ceil(BLOCK.1), 1),
            block_dim: (BLOCK.0, BLOCK.1, 1),
            shared_mem_bytes: 0,
        };
        // SAFETY: the kernel takes this struct (the driver copies it), and the caller vouches for the addresses in it.
        unsafe { launch.launch(config) }.map_err(Fault::of(kernel.name()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_ptx_has_every_kernel_and_asks_for_no_newer_driver_or_card() {
        assert!(PTX.contains(".version 6.0\n") && PTX.contains(".target sm_52\n"));
        for kernel in Kernel::ALL {
            assert!(PTX.contains(&format!(".visible .entry {}(", kernel.name())), "{kernel:?} is missing");
        }
    }

    #[test]
    fn the_ptx_assembles_for_every_generation_of_cards_and_spills_nothing() {
        if Command::new("ptxas").arg("--version").output().is_err() {
            println!("skipped: no ptxas here (pip download nvidia-cuda-nvcc-cu12==12.1.105 has one)");
            return;
        }
        let ptx = concat!(env!("CARGO_MANIFEST_DIR"), "/kernels/scale.ptx");
        for card in ["52", "60", "70", "75", "80", "86", "89", "90"] {
            let arch = format!("-arch=sm_{card}");
            let output = Command::new("ptxas").args(["-v", &arch, ptx, "-o", "/dev/null"]).output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "sm_{card}: {text}");
            let spilled =
                text.lines().filter(|line| line.contains("spill")).find(|line| !line.contains(" 0 bytes spill stores"));
            assert_eq!(spilled, None, "sm_{card}");
        }
    }

    #[test]
    fn the_ptx_is_what_its_source_compiles_to() {
        if Command::new("clang-14").arg("--version").output().is_err() {
            println!("skipped: no clang-14 here");
            return;
        }
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/kernels");
        let made = std::env::temp_dir().join(format!("scale-{}.ptx", std::process::id()));
        let output = Command::new(format!("{folder}/ptx.sh")).arg(&made).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = std::fs::read_to_string(&made).unwrap();
        std::fs::remove_file(&made).unwrap();
        assert!(text == PTX, "run worker/nvidia/kernels/ptx.sh and check in what it makes");
    }
}
