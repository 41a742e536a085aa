//! Where things lie in the object store, and what only the file system can do for a local folder. Ids come from users, so
//! a path is only made of what can stand in one.

use std::{fs, io, path::Path as FsPath, path::PathBuf, time::UNIX_EPOCH};

use object_store::path::Path;

use crate::{
    clock::Millis,
    error::{Error, Result},
    id::{InstanceId, MediaId, UserId},
};

pub(super) const TMP: &str = "tmp";
pub(super) const UPLOADS: &str = "uploads";
/// What reserved ids begin with. Not a hex digit: no content has such an id.
const RESERVED: char = 'u';
const ID_LENGTH: usize = 32;

/// An id for content that is not there yet.
pub fn reserve() -> Result<MediaId> {
    Ok(MediaId::new(format!("{RESERVED}{}", &random_hex()?[1..])))
}

/// Whether the id stands for an upload, not for content of an instance.
pub fn is_reserved(id: &MediaId) -> bool {
    id.as_str().strip_prefix(RESERVED).is_some_and(|rest| rest.len() == ID_LENGTH - 1 && is_hex(rest))
}

fn random_hex() -> Result<String> {
    let mut bytes = [0; ID_LENGTH / 2];
    getrandom::fill(&mut bytes).map_err(Error::internal)?;
    Ok(hex::encode(bytes))
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// One segment of a path. An empty one would vanish, and `delete_instance` delete everything.
fn segment(id: &str) -> Result<&str> {
    let sane = !id.is_empty()
        && id.len() <= 64
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        && id != TMP
        && id != UPLOADS;
    if sane { Ok(id) } else { Err(Error::not_found("Media not found")) }
}

pub(super) fn instance_path(instance: &InstanceId) -> Result<Path> {
    Ok(Path::from_iter([segment(instance.as_str())?]))
}

pub(super) fn content_path(instance: &InstanceId, id: &MediaId) -> Result<Path> {
    let id = id.as_str();
    if id.len() != ID_LENGTH || !is_hex(id) {
        return Err(Error::not_found("Media not found"));
    }
    Ok(Path::from_iter([segment(instance.as_str())?, &id[..2], id]))
}

/// Where an upload by URL goes: also the key for a pre-signed URL of a bucket.
pub fn upload_path(owner: &UserId, id: &MediaId) -> Result<Path> {
    if !is_reserved(id) {
        return Err(Error::not_found("Media not found"));
    }
    Ok(Path::from_iter([UPLOADS, segment(owner.as_str())?, id.as_str()]))
}

pub(super) fn temporary_path() -> Result<Path> {
    temporary().map(|(_, path)| path)
}

/// A new name, and its path.
pub(super) fn temporary() -> Result<(String, Path)> {
    let name = random_hex()?;
    let path = Path::from_iter([TMP, name.as_str()]);
    Ok((name, path))
}

/// The path of a name that [`temporary`] gave.
pub(super) fn temporary_named(name: &str) -> Result<Path> {
    if name.len() != ID_LENGTH || !is_hex(name) {
        return Err(Error::not_found("Media not found"));
    }
    Ok(Path::from_iter([TMP, name]))
}

pub(super) fn label_path(path: &Path) -> Result<Path> {
    Path::parse(format!("{path}.json")).map_err(Error::internal)
}

/// JSON with everything beyond ASCII escaped (RFC 8259 §7), for places that take only that.
pub(super) fn ascii_json(value: &impl serde::Serialize) -> Result<String> {
    let json = serde_json::to_string(value)?;
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() && c != '\x7f' {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    Ok(out)
}

/// Makes a folder for its owner only. The files in it need no modes of their own.
pub(super) fn private_folder(folder: &FsPath) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

pub(super) async fn remove_folder(folder: PathBuf) -> io::Result<()> {
    match tokio::fs::remove_dir_all(folder).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// Removes files under the folder that were last written before this moment.
pub(super) async fn remove_old(folder: PathBuf, before: Millis) -> io::Result<()> {
    tokio::task::spawn_blocking(move || remove_old_files(&folder, before)).await.map_err(io::Error::other)?
}

fn remove_old_files(folder: &FsPath, before: Millis) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        // Somebody else may be faster; what is not there any more needs no removing.
        let outcome = match entry.metadata() {
            Ok(meta) if meta.is_dir() => remove_old_files(&entry.path(), before),
            Ok(meta) if written(&meta) < before => fs::remove_file(entry.path()),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        match outcome {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// When the file was last written; one whose time cannot be read counts as new.
fn written(meta: &fs::Metadata) -> Millis {
    let since = meta.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    Millis(since.and_then(|since| i64::try_from(since.as_millis()).ok()).unwrap_or(i64::MAX))
}
