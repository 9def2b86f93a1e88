//! Each thing that a client can do wrong is done once, by a child of the test, and stands in the ledger.

use std::env;
use std::fs;
use std::process::Command;
use std::ptr::null_mut;
use std::thread;

use crate::client::{Cuda, Split};

const MISDEED: &str = "FARM_MISDEED";

/// What is done, and the one line that the ledger has then.
type Misdeed = (fn(), &'static str);

const MISDEEDS: &[Misdeed] = &[
    (|| _ = Cuda::load().count(null_mut()), "cuDeviceGetCount: called before cuInit"),
    (|| _ = Cuda::ready().count(null_mut()), "cuDeviceGetCount: no place for the answer"),
    (|| _ = Cuda::ready().retain(&mut 0, 3), "cuDevicePrimaryCtxRetain: there is no device 3"),
    (without_context, "cuMemAlloc: no context is current on this thread"),
    (on_another_thread, "cuMemsetD8: no context is current on this thread"),
    (in_a_destroyed_context, "cuMemAlloc: context 0x10000010 was destroyed"),
    (freed_twice, "cuMemFree: 0x3a8100000e00 was freed before"),
    (used_after_free, "cuMemsetD8: 0x3a8100000e00 was freed before"),
    (freed_by_the_middle, "cuMemFree: 0x3a8100000e00 is no device memory"),
    (beyond_the_end, "cuMemcpyDtoH: 1 bytes beyond the end of the memory of 0x3a8100000e00"),
    (host_for_device, "cuMemsetD8: 0x1234 is no device memory"),
    (device_for_host, "cuMemcpyHtoD: 0x3a8100000e00 is no memory of the host"),
    (foreign_stream, "cuMemsetD8Async: stream 0x10000020 belongs to another context"),
    (destroyed_stream, "cuStreamSynchronize: 0x10000020 is no stream, or was destroyed"),
    (event_for_a_stream, "cuStreamSynchronize: 0x10000020 is no stream, or was destroyed"),
    (destroyed_event, "cuEventSynchronize: 0x10000020 is no event, or was destroyed"),
    (|| _ = Cuda::ready().load_module(&mut 0, c"MZ".as_ptr()), "cuModuleLoadData: the image is no PTX"),
    (kernel_of_an_unloaded_module, "cuLaunchKernel: 0x10000030 is no function of a loaded module"),
    (kernel_with_a_freed_pointer, "cuLaunchKernel: the kernel's argument: 0x3a8100000e00 was freed before"),
    (|| _ = Cuda::ready().memory(7), "unload: 1 allocations of device memory never given back"),
    (
        || _ = Cuda::ready().allocate_pinned(&mut null_mut(), 7),
        "unload: 1 allocations of pinned memory never given back",
    ),
    (|| _ = Cuda::ready().create_stream(&mut 0, 0), "unload: 1 streams never given back"),
    (|| _ = Cuda::ready().create_event(&mut 0, 0), "unload: 1 events never given back"),
    (|| _ = Cuda::ready().split(), "unload: 1 modules never given back"),
    (|| _ = Cuda::ready().create_context(&mut 0, 0, 0), "unload: 1 contexts never given back"),
    (context_with_memory, "cuCtxDestroy: 1 allocations of device memory of the context were never given back"),
    (|| _ = Cuda::ready().destroy_context(0x1000_0010), "cuCtxDestroy: a primary context is released, not destroyed"),
    (popped_too_often, "cuCtxPopCurrent: no context was pushed on this thread"),
    (released_too_often, "cuDevicePrimaryCtxRelease: released more often than retained"),
];

fn without_context() {
    let cuda = Cuda::load();
    assert_eq!(cuda.init(0), 0);
    assert_eq!(cuda.allocate(&mut 0, 1), 201);
}

fn on_another_thread() {
    let cuda = Cuda::ready();
    let memory = cuda.memory(1);
    thread::scope(|scope| assert_eq!(scope.spawn(|| cuda.fill(memory, 0, 1)).join().unwrap(), 201));
    assert_eq!(cuda.free(memory), 0);
}

fn in_a_destroyed_context() {
    let cuda = Cuda::ready();
    assert_eq!(cuda.release(0), 0);
    assert_eq!(cuda.allocate(&mut 0, 1), 709);
}

fn freed_twice() {
    let cuda = Cuda::ready();
    let memory = cuda.memory(100);
    assert_eq!((cuda.free(memory), cuda.free(memory)), (0, 1));
}

fn used_after_free() {
    let cuda = Cuda::ready();
    let memory = cuda.memory(100);
    assert_eq!((cuda.free(memory), cuda.fill(memory, 0, 1)), (0, 1));
}

fn freed_by_the_middle() {
    let cuda = Cuda::ready();
    let memory = cuda.memory(1024);
    assert_eq!((cuda.free(memory + 512), cuda.free(memory)), (1, 0));
}

fn beyond_the_end() {
    let cuda = Cuda::ready();
    let memory = cuda.memory(100);
    assert_eq!(cuda.down([0; 101].as_mut_ptr(), memory, 101), 1);
    assert_eq!(cuda.free(memory), 0);
}

fn host_for_device() {
    assert_eq!(Cuda::ready().fill(0x1234, 0, 1), 1);
}

fn device_for_host() {
    let cuda = Cuda::ready();
    let memory = cuda.memory(100);
    assert_eq!(cuda.up(memory, memory as *const u8, 8), 1);
    assert_eq!(cuda.free(memory), 0);
}

fn foreign_stream() {
    let cuda = Cuda::ready();
    let stream = cuda.made(|place| cuda.create_stream(place, 0));
    let context = cuda.made(|place| cuda.create_context(place, 0, 0));
    let memory = cuda.memory(100);
    assert_eq!(cuda.fill_on(memory, 0, 100, stream), 400);
    assert_eq!((cuda.free(memory), cuda.destroy_context(context), cuda.destroy_stream(stream)), (0, 0, 0));
}

fn destroyed_stream() {
    let cuda = Cuda::ready();
    let stream = cuda.made(|place| cuda.create_stream(place, 0));
    assert_eq!((cuda.destroy_stream(stream), cuda.synchronize(stream)), (0, 400));
}

fn event_for_a_stream() {
    let cuda = Cuda::ready();
    let event = cuda.made(|place| cuda.create_event(place, 0));
    assert_eq!((cuda.synchronize(event), cuda.destroy_event(event)), (400, 0));
}

fn destroyed_event() {
    let cuda = Cuda::ready();
    let event = cuda.made(|place| cuda.create_event(place, 0));
    assert_eq!((cuda.destroy_event(event), cuda.synchronize_event(event)), (0, 400));
}

fn nothing_to_split(address: u64) -> Split {
    Split { pairs: address, first: address, second: address, pairs_pitch: 0, plane_pitch: 0, width: 0, height: 0 }
}

fn kernel_of_an_unloaded_module() {
    let cuda = Cuda::ready();
    let (module, split) = cuda.split();
    assert_eq!((cuda.unload_module(module), cuda.launch(split, 0, &nothing_to_split(0))), (0, 400));
}

/// The context is lost by it, so nothing can be given back.
fn kernel_with_a_freed_pointer() {
    let cuda = Cuda::ready();
    let (module, split) = cuda.split();
    let memory = cuda.memory(100);
    assert_eq!((cuda.free(memory), cuda.launch(split, 0, &nothing_to_split(memory))), (0, 700));
    assert_eq!(cuda.unload_module(module), 700);
}

fn context_with_memory() {
    let cuda = Cuda::ready();
    let context = cuda.made(|place| cuda.create_context(place, 0, 0));
    cuda.memory(100);
    assert_eq!(cuda.destroy_context(context), 0);
}

fn popped_too_often() {
    let cuda = Cuda::ready();
    assert_eq!((cuda.pop(null_mut()), cuda.pop(null_mut())), (0, 201));
}

fn released_too_often() {
    let cuda = Cuda::ready();
    assert_eq!((cuda.release(0), cuda.release(0)), (0, 201));
}

#[test]
fn every_misdeed_stands_in_the_ledger() {
    let folder = tempfile::tempdir().unwrap();
    for (number, (_, line)) in MISDEEDS.iter().enumerate() {
        let ledger = folder.path().join(number.to_string());
        let mut child = Command::new(env::current_exe().unwrap());
        child.args(["--ignored", "--exact", "misdeeds::one_misdeed"]).env(MISDEED, number.to_string());
        card::play(&mut child, folder.path(), "l4", "", &ledger);
        let output = child.output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stdout));
        assert_eq!(fs::read_to_string(&ledger).unwrap(), format!("{line}\n"));
    }
}

#[test]
#[ignore = "run by every_misdeed_stands_in_the_ledger"]
fn one_misdeed() {
    let number: usize = env::var_os(MISDEED).unwrap().to_str().unwrap().parse().unwrap();
    MISDEEDS[number].0();
}
