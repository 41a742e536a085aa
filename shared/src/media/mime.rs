//! What kind of content this is: sniffed from its first bytes where they tell, else as declared. Pure functions.

use serde::{Deserialize, Serialize};

/// Bytes from the start of the content that are looked at.
pub(super) const HEAD: usize = 4 * 1024;
/// What is said of content that nothing is known about.
pub const OCTET_STREAM: &str = "application/octet-stream";
const MAX_DECLARED: usize = 127;

/// How a messenger shows the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Image,
    Video,
    Audio,
    Document,
}

/// The kind of a type. Images that messengers do not draw (SVG, TIFF, camera formats) are documents.
pub fn kind_of(mime: &str) -> Kind {
    let mime = canonical(essence(mime));
    match mime.as_str() {
        "image/jpeg" | "image/png" | "image/gif" | "image/webp" => Kind::Image,
        _ if mime.starts_with("video/") => Kind::Video,
        _ if mime.starts_with("audio/") => Kind::Audio,
        _ => Kind::Document,
    }
}

/// The usual file name extension of a type, without the dot; `bin` if there is none that is known.
pub fn extension_of(mime: &str) -> &'static str {
    match canonical(essence(mime)).as_str() {
        "image/jpeg" => "jpg",
        "image/png" => "png",
        "image/gif" => "gif",
        "image/webp" => "webp",
        "image/svg+xml" => "svg",
        "image/heif" | "image/heic" => "heic",
        "image/tiff" => "tif",
        "video/mp4" => "mp4",
        "video/3gpp" | "audio/3gpp" => "3gp",
        "video/quicktime" => "mov",
        "video/webm" | "audio/webm" => "webm",
        "video/x-matroska" => "mkv",
        "audio/ogg" => "ogg",
        "audio/mp4" => "m4a",
        "audio/mpeg" => "mp3",
        "audio/aac" => "aac",
        "audio/amr" => "amr",
        "audio/wav" => "wav",
        "audio/flac" => "flac",
        "application/pdf" => "pdf",
        "application/zip" => "zip",
        "application/gzip" => "gz",
        "application/json" => "json",
        "application/msword" => "doc",
        "application/vnd.ms-excel" => "xls",
        "application/vnd.ms-powerpoint" => "ppt",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "xlsx",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation" => "pptx",
        "application/vnd.oasis.opendocument.text" => "odt",
        "application/vnd.android.package-archive" => "apk",
        "application/rtf" => "rtf",
        "application/epub+zip" => "epub",
        "text/plain" => "txt",
        "text/csv" => "csv",
        "text/html" => "html",
        "text/xml" | "application/xml" => "xml",
        "text/vcard" => "vcf",
        "text/calendar" => "ics",
        _ => "bin",
    }
}

/// The type of content that begins with `head` (its first 4 KiB, or all of it if `whole`), declared as `declared`.
pub(super) fn determine(head: &[u8], whole: bool, declared: Option<&str>) -> String {
    let declared = declared.and_then(readable).filter(|mime| essence(mime) != OCTET_STREAM);
    let text = looks_like_text(head, whole);
    let sniffed = infer::get(head)
        .map(|found| canonical(found.mime_type()))
        // Two letters make a bitmap or a program for the sniffer, and also begin many a sentence.
        .filter(|mime| {
            !(text && matches!(mime.as_str(), "image/bmp" | "application/vnd.microsoft.portable-executable"))
        })
        .filter(|mime| mime != OCTET_STREAM);
    match (sniffed, declared) {
        (Some(sniffed), Some(declared)) if refines(essence(&sniffed), essence(&declared)) => declared,
        (Some(sniffed), _) => sniffed,
        (None, Some(declared)) => declared,
        (None, None) if text => "text/plain".to_owned(),
        (None, None) => OCTET_STREAM.to_owned(),
    }
}

/// Whether the declared type says the same as the sniffed one, or more: many formats are containers of others.
fn refines(sniffed: &str, declared: &str) -> bool {
    sniffed == declared
        || match sniffed {
            "application/zip" | "application/x-ole-storage" | "application/gzip" => {
                declared.starts_with("application/")
            }
            "text/xml" => declared.ends_with("xml") || declared == "text/html",
            "text/html" | "text/x-shellscript" => declared.starts_with("text/"),
            "video/mp4" => matches!(declared, "audio/mp4" | "audio/3gpp" | "video/3gpp"),
            "audio/ogg" => declared == "video/ogg",
            "video/webm" => declared == "audio/webm",
            "video/x-matroska" => matches!(declared, "video/webm" | "audio/webm" | "audio/x-matroska"),
            _ => false,
        }
}

/// The type without its parameters, as it is spelled.
fn essence(mime: &str) -> &str {
    mime.split(';').next().unwrap_or(mime).trim()
}

/// One name for each type, lower case.
fn canonical(mime: &str) -> String {
    let mime = mime.to_ascii_lowercase();
    match mime.as_str() {
        "image/jpg" | "image/pjpeg" => "image/jpeg",
        "audio/mp3" | "audio/x-mp3" => "audio/mpeg",
        "audio/m4a" | "audio/x-m4a" => "audio/mp4",
        "audio/x-wav" | "audio/wave" | "audio/vnd.wave" => "audio/wav",
        "audio/x-flac" => "audio/flac",
        "video/x-m4v" => "video/mp4",
        "application/ogg" => "audio/ogg",
        // Opus comes in Ogg; messengers play it as a voice message only under this name.
        "audio/opus" => "audio/ogg; codecs=opus",
        "application/x-zip-compressed" => "application/zip",
        other => other,
    }
    .to_owned()
}

/// A declared type in one spelling, parameters kept; `None` if it is not one. It goes into headers of other systems, so
/// only printable ASCII passes.
fn readable(declared: &str) -> Option<String> {
    let token =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b));
    let (main, sub) = essence(declared).split_once('/')?;
    if !(token(main) && token(sub)) || declared.len() > MAX_DECLARED {
        return None;
    }
    let mime = canonical(essence(declared));
    let parameters = declared.split_once(';').map(|(_, rest)| rest.trim()).filter(|rest| !rest.is_empty());
    match parameters {
        Some(rest) if !mime.contains(';') && rest.bytes().all(|b| matches!(b, b' '..=b'~')) => {
            Some(format!("{mime}; {rest}"))
        }
        _ => Some(mime),
    }
}

/// UTF-8 without control characters, or UTF-16 with its mark. Nothing at all is not text.
fn looks_like_text(head: &[u8], whole: bool) -> bool {
    if head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) {
        return true;
    }
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The head may end in the middle of a character.
        Err(error) if !whole && error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.is_empty() && !text.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\x0c' | '\x1b'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
    const ZIP: &[u8] = b"PK\x03\x04\x14\0\0\0\x08\0";

    #[test]
    fn content_tells_more_than_its_label() {
        for (head, declared, wanted) in [
            (PNG, None, "image/png"),
            (PNG, Some("image/jpeg"), "image/png"),
            (b"\xff\xd8\xff\xe0", Some("image/jpg"), "image/jpeg"),
            (b"%PDF-1.7 and so on", Some("application/octet-stream"), "application/pdf"),
            (b"hello", None, "text/plain"),
            ("你好".as_bytes(), None, "text/plain"),
            (b"a,b\n1,2", Some("text/csv"), "text/csv"),
            (b"a,b\n1,2", Some("Text/CSV; charset=utf-8"), "text/csv; charset=utf-8"),
            (b"BMW builds cars", None, "text/plain"),
            (b"MZ is a state of mind", Some("text/markdown"), "text/markdown"),
            (b"\x01\x02\x03\x04", None, OCTET_STREAM),
            (b"\x01\x02\x03\x04", Some("application/x-thing"), "application/x-thing"),
            (b"\x01\x02\x03\x04", Some("nonsense"), OCTET_STREAM),
            (b"\x01\x02\x03\x04", Some("a/b\r\nX-Evil: 1"), OCTET_STREAM),
            (b"", None, OCTET_STREAM),
            (ZIP, Some("application/vnd.android.package-archive"), "application/vnd.android.package-archive"),
            (ZIP, Some("image/png"), "application/zip"),
            (b"<?xml version='1.0'?><svg/>", Some("image/svg+xml"), "image/svg+xml"),
            (b"OggS\0\x02 and more", Some("audio/ogg; codecs=opus"), "audio/ogg; codecs=opus"),
            (b"\0\0\0\x18ftypisom\0\0\0\0isom", Some("audio/mp4"), "audio/mp4"),
        ] {
            assert_eq!(determine(head, true, declared), wanted, "{declared:?} {head:?}");
        }
    }

    #[test]
    fn a_head_may_end_within_a_character() {
        let head = &"x你".as_bytes()[..3];
        assert_eq!(determine(head, false, None), "text/plain");
        assert_eq!(determine(head, true, None), OCTET_STREAM);
    }

    #[test]
    fn kinds_and_extensions() {
        for (mime, kind, extension) in [
            ("image/jpeg", Kind::Image, "jpg"),
            ("IMAGE/PNG", Kind::Image, "png"),
            ("image/svg+xml", Kind::Document, "svg"),
            ("video/mp4", Kind::Video, "mp4"),
            ("audio/ogg; codecs=opus", Kind::Audio, "ogg"),
            ("application/ogg", Kind::Audio, "ogg"),
            ("application/pdf", Kind::Document, "pdf"),
            ("", Kind::Document, "bin"),
        ] {
            assert_eq!((kind_of(mime), extension_of(mime)), (kind, extension), "{mime}");
        }
    }
}
