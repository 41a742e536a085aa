//! See the library.

fn main() -> std::process::ExitCode {
    trunkline::main()
}
