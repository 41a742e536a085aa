//! The foreign tools that give a second opinion: Python and Node, as `tests/run` installs them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the suite lives in a folder of the repository").to_owned()
}

/// A file under `tests/seeds/`.
///
/// # Panics
/// When it cannot be read.
#[must_use]
pub fn seed_file(path: &str) -> String {
    let path = root().join("tests/seeds").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs a Python program in the suite's virtual environment, `input` on its standard input.
///
/// # Panics
/// When the environment is not there: `tests/run` makes it.
#[must_use]
pub fn python(program: &str, input: &str) -> Output {
    let python = root().join(".venv/bin/python");
    assert!(python.exists(), "{} is missing: run tests/run once", python.display());
    run(Command::new(python).args(["-X", "utf8", "-c", program]), input)
}

/// Runs a CommonJS program under Node with the suite's packages in reach, `input` on its standard input.
///
/// # Panics
/// When the packages are not there: `tests/run` installs them.
#[must_use]
pub fn node(program: &str, input: &str) -> Output {
    let modules = root().join("tests/node_modules");
    assert!(modules.exists(), "{} is missing: run tests/run once", modules.display());
    run(Command::new("node").env("NODE_PATH", modules).args(["-e", program]), input)
}

/// The standard output of a program that succeeded.
///
/// # Panics
/// When it did not; with both of its outputs.
#[track_caller]
#[must_use]
pub fn stdout(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n--- stdout\n{out}\n--- stderr\n{err}", output.status);
    out.into_owned()
}

fn run(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("stdin was asked for");
    // A program that ended before it read everything shows in its status, not here.
    drop(stdin.write_all(input.as_bytes()));
    drop(stdin);
    child.wait_with_output().expect("the child is ours to wait for")
}
