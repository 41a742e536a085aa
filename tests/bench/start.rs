//! From the start of the process to the first answer; memory at rest.

use suite::harness::Server;

pub(crate) async fn run() {
    println!("start");
    let mut server = Server::start();
    println!("  first start, new data        {:8.1} ms to the first answer (aim 200)", millis(&server));
    let mut best = f64::MAX;
    for _ in 0..5 {
        server.kill();
        server.restart();
        best = best.min(millis(&server));
    }
    println!("  after kill -9, best of 5     {best:8.1} ms");
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    println!("  memory at rest               {:8.1} MiB (aim 40)\n", mebibytes(&server));
}

fn millis(server: &Server) -> f64 {
    server.started_in.as_secs_f64() * 1000.0
}

/// Resident memory of the server.
pub(crate) fn mebibytes(server: &Server) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let kib = server.resident_kib() as f64;
    kib / 1024.0
}
