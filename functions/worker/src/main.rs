//! The worker of a fleet: see [`worker::main`].

fn main() -> std::process::ExitCode {
    worker::main()
}
