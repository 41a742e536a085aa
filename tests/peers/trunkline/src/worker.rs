//! The worker as it is released, but for one check: it talks to a server whose certificates WhatsApp did not sign.

// Only linked by the local binary, and for its feature.
use trunkline as _;
use whatsapp_rust as _;

fn main() -> std::process::ExitCode {
    worker::main()
}
