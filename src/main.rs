//! The binary: everything is in the library.

/// Calls are allocated by one thread and freed by another, for ever: the system's own allocator costs a seventh of
/// that work and leaves more holes. SQLite and zstd use it too.
#[cfg(unix)]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    tapline::cli::main()
}
