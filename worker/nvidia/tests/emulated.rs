//! The crate on a driver that only looks like one: it checks every call, and runs the kernels on the host.
//!
//! Each test starts itself again with that driver on its library path; a test fails if its child does, or if the driver
//! wrote anything into its list of violations, which memory that was not freed is one of.

use std::process::Command;
use std::time::{Duration, Instant};

use card::Library;
use nvidia::scale::{Lut3, Picture, Reference, Siting, Size, Source, Transform, Turn, Window};
use nvidia::{Device, Fault, Format, Planar, Pool, Scaler, Surface};

/// Runs `body` in a child on this card with these faults. `test` is the name of the test itself.
fn on(card: &str, faults: &str, test: &str, body: impl FnOnce()) {
    if std::env::var_os("NVIDIA_TEST_CHILD").is_some() {
        return body();
    }
    let folder = tempfile::tempdir().unwrap();
    card::folder(folder.path(), &card::folder::built().unwrap(), &[Library::Cuda]).unwrap();
    let ledger = folder.path().join("violations");
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([test, "--exact", "--nocapture"]).env("NVIDIA_TEST_CHILD", "1");
    card::play(&mut child, folder.path(), card, faults, &ledger);
    let output = child.output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    let violations = std::fs::read_to_string(&ledger).unwrap_or_default();
    assert_eq!(violations, "", "{said}");
}

fn size(width: u32, height: u32) -> Size {
    Size { width, height }
}

fn source(format: Format, bits: u32, width: u32, height: u32) -> Source {
    let window = Window { left: 0, top: 0, size: size(width, height) };
    Source { format, bits, size: window.size, window, full_range: false, siting: Siting::Left }
}

/// Noise in both planes.
fn noise(format: Format, width: u32, height: u32) -> Picture {
    let mut picture = Picture::new(format, width, height);
    let mut state = 1u32;
    let (luma, chroma) = picture.planes_mut();
    for byte in luma.iter_mut().chain(chroma) {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24) as u8;
    }
    picture
}

fn upload(pool: &mut Pool, picture: &Picture) -> Surface {
    let surface = pool.take().unwrap();
    let pitch = picture.pitch();
    surface.upload((picture.luma(), pitch), (picture.chroma(), pitch)).unwrap();
    surface
}

fn download(surface: &Surface) -> Picture {
    let layout = surface.layout();
    let mut picture = Picture::new(layout.format, layout.width, layout.height);
    let pitch = picture.pitch();
    let (luma, chroma) = picture.planes_mut();
    surface.download((luma, pitch), (chroma, pitch)).unwrap();
    picture
}

#[test]
fn a_device_says_what_it_is() {
    on("t4", "", "a_device_says_what_it_is", || {
        assert_eq!(Device::count().unwrap(), 1);
        let device = Device::open(0).unwrap();
        let facts = device.facts();
        assert!(facts.name.contains("T4") && !facts.mig, "{facts:?}");
        assert!(facts.uuid.starts_with("GPU-") && facts.uuid.len() == 40, "{facts:?}");
        assert_eq!(facts.compute_capability, (7, 5));
        assert!(facts.pci_bus_id.starts_with("0000:") && facts.cuda >= (12, 1), "{facts:?}");
        assert!(device.free_bytes().unwrap() <= facts.memory_bytes);
        let lack = Device::open(7).unwrap_err();
        assert!(lack.to_string().contains("GPU 7"), "{lack}");
    });
}

#[test]
fn a_part_of_a_card_has_a_uuid_of_its_own() {
    on("h200mig", "", "a_part_of_a_card_has_a_uuid_of_its_own", || {
        let device = Device::open(0).unwrap();
        // "farm-h200-part"
        assert!(device.facts().mig && device.facts().uuid == "MIG-6661726d-2d68-3230-302d-706172740000");
    });
}

#[test]
fn a_machine_without_a_card_is_told_from_a_broken_one() {
    on("none", "", "a_machine_without_a_card_is_told_from_a_broken_one", || match Device::count() {
        Ok(count) => assert_eq!(count, 0),
        Err(lack) => assert!(lack.advice.contains("nvidia-smi -L"), "{lack}"),
    });
}

#[test]
fn every_picture_is_the_references_byte_for_byte() {
    on("t4", "lazy_streams", "every_picture_is_the_references_byte_for_byte", || {
        let device = Device::open(0).unwrap();
        let bent =
            (0..5u32.pow(3)).map(|n| [n % 5, n / 5 % 5, n / 25].map(|part| (part * part * 4095) as u16)).collect();
        let tone = Lut3::new(5, bent);
        let mut cropped = source(Format::Nv12, 8, 130, 94);
        cropped.window = Window { left: 3, top: 5, size: size(121, 83) };
        let cases = [
            (source(Format::Nv12, 8, 128, 72), Transform::NONE),
            (cropped, Transform { turn: Turn::Quarter, mirror: true, tone: None }),
            (Source { full_range: true, ..source(Format::P016, 10, 96, 64) }, Transform::NONE),
            (source(Format::P016, 10, 96, 64), Transform { turn: Turn::Half, mirror: false, tone }),
        ];
        let rungs = [size(64, 48), size(36, 20), size(2, 2)];
        for (source, transform) in &cases {
            let Size { width, height } = source.size;
            let picture = noise(source.format, width, height);
            let mut reference = Reference::new(source, transform, &rungs).unwrap();
            let mut scaler = Scaler::new(&device, source, transform, &rungs).unwrap();
            let mut pool = Pool::new(&device, source.format, width, height);
            for _ in 0..3 {
                let surface = upload(&mut pool, &picture);
                let scaled = scaler.push(&surface).unwrap();
                drop(surface); // the stream still has it to read
                let wanted = reference.push(&picture).unwrap();
                assert!(scaled.iter().zip(&wanted).all(|(got, wanted)| download(got) == *wanted), "{source:?}");
            }
        }
    });
}

#[test]
fn planes_come_back_as_they_went() {
    on("l4", "lazy_streams", "planes_come_back_as_they_went", || {
        let device = Device::open(0).unwrap();
        let mut planar = Planar::new(&device).unwrap();
        for (width, height) in [(64, 48), (2, 2), (101, 33)] {
            let mut pool = Pool::new(&device, Format::Nv12, width, height);
            let surface = pool.take().unwrap();
            let (half_width, half_height) = (width.div_ceil(2) as usize, height.div_ceil(2) as usize);
            let plane = |seed: usize, bytes: usize| -> Vec<u8> { (0..bytes).map(|n| (n * 7 + seed) as u8).collect() };
            let there = [
                plane(1, (width * height) as usize),
                plane(90, half_width * half_height),
                plane(200, half_width * half_height),
            ];
            let strides = [width as usize, half_width, half_width];
            planar.upload(&surface, [0, 1, 2].map(|n| (&there[n][..], strides[n]))).unwrap();
            assert_eq!(download(&surface).chroma()[..2], [90, 200]);
            let mut back = there.clone().map(|plane| vec![0; plane.len()]);
            let [y, u, v] = &mut back;
            planar.download(&surface, [(y, strides[0]), (u, strides[1]), (v, strides[2])]).unwrap();
            assert_eq!(back, there);
        }
    });
}

#[test]
fn a_picture_that_is_dropped_is_given_out_again() {
    on("t4", "", "a_picture_that_is_dropped_is_given_out_again", || {
        let device = Device::open(0).unwrap();
        let mut pool = Pool::new(&device, Format::Nv12, 64, 64);
        let first = pool.take().unwrap();
        let (address, shared) = (first.layout().luma, first.clone());
        drop(first);
        assert_ne!(pool.take().unwrap().layout().luma, address, "a clone still has it");
        drop(shared);
        assert_eq!(pool.take().unwrap().layout().luma, address);
        let out: Vec<_> = std::iter::from_fn(|| pool.take().ok()).take(1000).collect();
        assert_eq!(out.len(), 128, "a pool has an end");
        drop(pool);
        assert_eq!(out[0].layout().width, 64, "what is out outlives its pool");
    });
}

#[test]
fn a_full_card_is_not_a_broken_one() {
    on("t4", "memory=64", "a_full_card_is_not_a_broken_one", || {
        let device = Device::open(0).unwrap();
        let fault = device.allocate(1 << 30).unwrap_err();
        assert!(fault.out_of_memory() && !fault.sticky(), "{fault}");
        assert!(device.allocate(1 << 20).is_ok());
    });
}

#[test]
fn a_card_that_is_lost_at_any_call_ends_in_errors_and_nothing_else() {
    for call in (5..120).step_by(6) {
        let test = "a_card_that_is_lost_at_any_call_ends_in_errors_and_nothing_else";
        on("t4", &format!("device_lost@{call}"), test, || {
            let began = Instant::now();
            if let Err(error) = work() {
                assert!(error.contains("999") || error.contains("libcuda"), "{error}");
            }
            assert!(began.elapsed() < Duration::from_secs(20));
        });
        if std::env::var_os("NVIDIA_TEST_CHILD").is_some() {
            break;
        }
    }
}

/// A bit of everything; everything is dropped, wherever it ended.
fn work() -> Result<(), String> {
    let words = |fault: Fault| fault.to_string();
    let device = Device::open(0).map_err(|lack| lack.to_string())?;
    let source = source(Format::Nv12, 8, 64, 48);
    let mut scaler = Scaler::new(&device, &source, &Transform::NONE, &[size(32, 24)]).map_err(|e| e.to_string())?;
    let mut pool = Pool::new(&device, Format::Nv12, 64, 48);
    for _ in 0..4 {
        let picture = noise(Format::Nv12, 64, 48);
        let surface = pool.take().map_err(words)?;
        let pitch = picture.pitch();
        surface.upload((picture.luma(), pitch), (picture.chroma(), pitch)).map_err(words)?;
        scaler.push(&surface).map_err(|error| error.to_string())?;
    }
    device.synchronize().map_err(words)
}

#[test]
fn a_driver_that_does_not_start_is_named_with_what_to_do() {
    let test = "a_driver_that_does_not_start_is_named_with_what_to_do";
    on("t4", "cuInit@1=803", test, || {
        let lack = Device::count().unwrap_err();
        assert!(lack.to_string().contains("803") && lack.advice.contains("reboot"), "{lack}");
    });
}

#[test]
fn without_a_driver_the_words_say_so() {
    match Device::count() {
        Err(lack) if lack.why.starts_with("no such library") => {
            assert_eq!(lack.what, "libcuda.so.1");
            assert!(lack.advice.contains("driver") && lack.advice.contains("container"), "{lack}");
            assert_eq!(Device::open(0).unwrap_err(), lack);
        }
        other => println!("skipped: there is a driver here: {other:?}"),
    }
}
