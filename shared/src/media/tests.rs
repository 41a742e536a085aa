//! The same expectations of a folder and of a store with attributes (in memory, as a bucket would be).

use futures_util::stream;
use object_store::memory::InMemory;

use super::*;
use crate::Kind as ErrorKind;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR and the rest";

fn instance() -> InstanceId {
    InstanceId::new("01hinstance00001")
}

fn of(content: &[u8]) -> impl Stream<Item = Result<Bytes>> + Send + use<> {
    let chunks: Vec<Result<Bytes>> = content.chunks(100_000).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
    stream::iter(chunks)
}

/// More than one part of either home, and not the same everywhere.
fn large() -> Vec<u8> {
    (0..6_000_000u32).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

async fn read(content: Content) -> Vec<u8> {
    content.try_collect::<Vec<_>>().await.expect("content").concat()
}

/// All objects and half-written files.
async fn objects(media: &Media) -> Vec<String> {
    if let Some(folder) = &media.folder {
        let mut found = Vec::new();
        let mut folders = vec![folder.clone()];
        while let Some(next) = folders.pop() {
            for entry in std::fs::read_dir(next).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path)
                } else {
                    found.push(path.strip_prefix(folder).expect("within").display().to_string())
                }
            }
        }
        return found;
    }
    media
        .store()
        .expect("open")
        .list(None)
        .map_ok(|object| object.location.to_string())
        .try_collect()
        .await
        .expect("a list")
}

fn in_memory() -> impl Fn() -> crate::Result<Arc<dyn ObjectStore>> {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    move || Ok(Arc::clone(&store))
}

struct Homes {
    both: [Media; 2],
    _folder: tempfile::TempDir,
}

fn homes() -> Homes {
    let folder = tempfile::tempdir().expect("a folder");
    let local = Media::local(&folder.path().join("media")).expect("a folder of media");
    Homes { both: [local, Media::remote(in_memory())], _folder: folder }
}

#[tokio::test]
async fn what_is_put_can_be_opened() {
    for media in &homes().both {
        for content in [PNG.to_vec(), large(), Vec::new()] {
            let stored = media.put_stream(&instance(), of(&content), None, 1 << 30).await.expect("stored");
            assert_eq!(stored.sha256, hex::encode(Sha256::digest(&content)));
            assert_eq!((stored.id.as_str(), stored.size), (&stored.sha256[..32], content.len() as u64));
            let (meta, found) = media.open(&instance(), &stored.id).await.expect("open");
            assert_eq!((meta.size, &meta.mime), (stored.size, &stored.mime));
            assert_eq!(meta, media.stat(&instance(), &stored.id).await.expect("stat"));
            assert!(read(found).await == content);
        }
        let names = objects(media).await;
        assert!(names.iter().all(|name| !name.contains("tmp/") && !name.contains('#')), "{names:?}");
    }
}

#[tokio::test]
async fn the_type_is_kept() {
    for media in &homes().both {
        let id = media.put_stream(&instance(), of(PNG), Some("text/plain"), 1 << 20).await.expect("stored");
        assert_eq!(id.mime, "image/png");
        for declared in ["text/csv", "text/markdown"] {
            let stored = media.put_stream(&instance(), of(b"a,b"), Some(declared), 1 << 20).await.expect("stored");
            assert_eq!(media.stat(&instance(), &stored.id).await.expect("stat").mime, declared);
        }
    }
}

#[tokio::test]
async fn the_same_content_is_stored_once() {
    for media in &homes().both {
        let first = media.put_stream(&instance(), of(&large()), None, 1 << 30).await.expect("stored");
        let before = objects(media).await;
        assert_eq!(media.put_stream(&instance(), of(&large()), None, 1 << 30).await.expect("stored"), first);
        assert_eq!(objects(media).await, before);
    }
}

#[tokio::test]
async fn errors_leave_nothing_behind() {
    for media in &homes().both {
        for content in [PNG.to_vec(), large()] {
            let limit = content.len() as u64 - 1;
            let error = media.put_stream(&instance(), of(&content), None, limit).await.expect_err("too large");
            assert_eq!(error.kind, ErrorKind::TooLarge);
            let broken = of(&content).chain(stream::iter([Err(Error::invalid("file", "broken off"))]));
            let error = media.put_stream(&instance(), broken, None, 1 << 30).await.expect_err("broken off");
            assert_eq!(error.field.as_deref(), Some("file"));
        }
        assert_eq!(objects(media).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn instances_are_apart_and_can_be_deleted() {
    let other = InstanceId::new("01hinstance00002");
    for media in &homes().both {
        let stored = media.put_stream(&instance(), of(PNG), None, 1 << 20).await.expect("stored");
        assert_eq!(media.stat(&other, &stored.id).await.expect_err("not theirs").kind, ErrorKind::NotFound);
        media.put_stream(&other, of(PNG), None, 1 << 20).await.expect("stored");
        for _ in 0..2 {
            media.delete_instance(&instance()).await.expect("deleted");
        }
        assert_eq!(media.stat(&instance(), &stored.id).await.expect_err("deleted").kind, ErrorKind::NotFound);
        media.stat(&other, &stored.id).await.expect("still there");
        for wrong in ["", ".", "..", "a/b", "tmp", "uploads"] {
            let wrong = InstanceId::new(wrong);
            assert!(media.delete_instance(&wrong).await.is_err());
            assert!(media.put_stream(&wrong, of(PNG), None, 1 << 20).await.is_err());
        }
        for wrong in ["", "..", "../../../etc/passwd", &stored.sha256, &stored.id.as_str().to_uppercase()] {
            assert!(media.open(&other, &MediaId::new(wrong)).await.is_err(), "{wrong}");
        }
    }
}

#[tokio::test]
async fn an_upload_is_adopted() {
    for media in &homes().both {
        let owner = UserId::new("01huser000000001");
        let ticket = Ticket {
            owner: owner.clone(),
            media: reserve().expect("an id"),
            mime: Some("image/jpeg".to_owned()),
            name: Some("Straße \"1\" 🙂.png".to_owned()),
            size: 100,
            expires: Millis(0),
        };
        assert!(is_reserved(&ticket.media) && ticket.media.as_str().len() == 32);
        let adopt = |owner: UserId, id: MediaId, max| async move { media.adopt(&owner, &instance(), &id, max).await };
        assert!(adopt(owner.clone(), ticket.media.clone(), 100).await.is_err(), "not uploaded yet");

        assert_eq!(media.put_upload(&ticket, of(&[0; 101])).await.expect_err("too large").kind, ErrorKind::TooLarge);
        media.put_upload(&ticket, of(b"an earlier version")).await.expect("stored");
        assert_eq!(media.put_upload(&ticket, of(PNG)).await.expect("replaced").id, ticket.media);

        let (id, meta) = adopt(owner.clone(), ticket.media.clone(), 100).await.expect("adopted");
        assert_eq!((meta.mime.as_str(), meta.name), ("image/png", ticket.name.clone()));
        assert_eq!(read(media.open(&instance(), &id).await.expect("open").1).await, PNG);
        assert_eq!(adopt(owner.clone(), id.clone(), 100).await.expect("its own").0, id);
        assert_eq!(adopt(owner.clone(), id, 5).await.expect_err("too large").kind, ErrorKind::TooLarge);
        let stranger = UserId::new("01huser000000002");
        assert_eq!(adopt(stranger, ticket.media.clone(), 100).await.expect_err("not theirs").kind, ErrorKind::NotFound);

        media.remove_stale(Millis(0)).await.expect("nothing is that old");
        adopt(owner.clone(), ticket.media.clone(), 100).await.expect("still there");
        media.remove_stale(Millis(i64::MAX - 1)).await.expect("swept");
        assert!(adopt(owner, ticket.media.clone(), 100).await.is_err());
    }
}

#[cfg(unix)]
#[test]
fn the_folder_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a/b");
    Media::local(&path).expect("made");
    assert_eq!(std::fs::metadata(path).expect("there").permissions().mode() & 0o777, 0o700);
}
