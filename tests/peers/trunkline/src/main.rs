//! The local binary as it is released, but for one check: it talks to a server whose certificates WhatsApp did not sign.

// Only linked for its feature.
use whatsapp_rust as _;

fn main() -> std::process::ExitCode {
    trunkline::main()
}
