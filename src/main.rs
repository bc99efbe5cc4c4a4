//! The binary: everything is in the library.

/// Records are made on the traffic's threads and dropped on the projector's, which the system's allocator is
/// slowest at: it took a seventh of a call's instructions.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    tapline::cli::main()
}
