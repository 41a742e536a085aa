//! Spellings that must come out alike, those that must be refused, and properties over any text.

use proptest::prelude::*;

use super::*;

fn whatsapp(text: &str) -> Option<String> {
    Jid::parse("phone", text).ok().map(|jid| jid.to_string())
}

#[test]
fn phone_numbers_become_ids() {
    for text in ["4915112345678", "+49 151 12345678", "+49 (151) 1234-5678", " 49-151-12345678 ", "(49)15112345678"] {
        assert_eq!(whatsapp(text).as_deref(), Some("4915112345678@s.whatsapp.net"), "{text}");
    }
    assert_eq!(whatsapp("1234567").as_deref(), Some("1234567@s.whatsapp.net"));
    for text in
        ["", "+", "123456", "1234567890123456", "++491511234567", "49+1511234567", "call me", "12345x7890", "٣٤٥٦٧٨٩"]
    {
        let error = Jid::parse("phone", text).expect_err(text);
        assert_eq!((error.kind, error.field.as_deref()), (crate::Kind::Invalid, Some("phone")), "{text}");
    }
}

#[test]
fn full_ids_lose_their_device_and_keep_their_server() {
    for (text, wanted) in [
        ("4915112345678:12@s.whatsapp.net", "4915112345678@s.whatsapp.net"),
        ("4915112345678.0:12@s.whatsapp.net", "4915112345678@s.whatsapp.net"),
        ("4915112345678.0@S.WhatsApp.Net", "4915112345678@s.whatsapp.net"),
        ("123456789012345:3@lid", "123456789012345@lid"),
        ("120363041234567890@g.us", "120363041234567890@g.us"),
        ("4915112345678-1612345678@g.us", "4915112345678-1612345678@g.us"),
        ("120363041234567890@newsletter", "120363041234567890@newsletter"),
    ] {
        assert_eq!(whatsapp(text).as_deref(), Some(wanted), "{text}");
    }
    for text in [
        "@s.whatsapp.net",
        "abc@s.whatsapp.net",
        "+4915112345678@s.whatsapp.net",
        "491511234@c.us",
        "status@broadcast",
        "1-2-3@g.us",
        "1-@g.us",
        "1-2@s.whatsapp.net",
        "12:3@g.us",
        "1@2@lid",
        "491511234@example.com",
    ] {
        assert_eq!(whatsapp(text), None, "{text}");
    }
    let group = Jid::parse("phone", "120363041234567890@g.us").expect("a group");
    assert!(group.is_group() && group.e164().is_none() && group.server() == Server::Group);
    let person: Jid = "4915112345678".parse().expect("a person");
    assert_eq!((person.user(), person.e164().as_deref()), ("4915112345678", Some("+4915112345678")));
}

#[test]
fn each_platform_has_its_addresses() {
    let group = general_purpose::STANDARD.encode([0xfb; 32]);
    let group_url = general_purpose::URL_SAFE_NO_PAD.encode([0xfb; 32]);
    for (platform, text, wanted) in [
        (Platform::Telegram, "123456789", Some("123456789")),
        (Platform::Telegram, "-1001234567890", Some("-1001234567890")),
        (Platform::Telegram, "@Durov_Bot", Some("@durov_bot")),
        (Platform::Telegram, "durov", None),
        (Platform::Telegram, "@a b", None),
        (Platform::Telegram, "+4915112345678", None),
        (Platform::Telegram, "0", None),
        (Platform::Telegram, "99999999999999999999", None),
        (Platform::Wechat, "oABC-123_x@im.wechat", Some("oABC-123_x@im.wechat")),
        (Platform::Wechat, "two words", None),
        (Platform::Wechat, "", None),
        (Platform::Signal, "+49 151 12345678", Some("+4915112345678")),
        (Platform::Signal, "4915112345678", None),
        (Platform::Signal, "5C10A0FB-6D2E-4F0C-8F3A-0123456789AB", Some("5c10a0fb-6d2e-4f0c-8f3a-0123456789ab")),
        (Platform::Signal, &group, Some(&group)),
        (Platform::Signal, &group_url, Some(&group)),
        (Platform::Signal, "aGVsbG8=", None),
        (Platform::Wecom, "S:7881303217905494", Some("S:7881303217905494")),
        (Platform::Wecom, "R:10957014854528966", Some("R:10957014854528966")),
        (Platform::Wecom, "S:", None),
        (Platform::Wecom, "7881303217905494", None),
        (Platform::Im, "01h2xcejqtf2nbrx", Some("01h2xcejqtf2nbrx")),
        (Platform::Im, "a\nb", None),
        (Platform::Whatsapp, "+49 151 12345678", Some("4915112345678@s.whatsapp.net")),
    ] {
        assert_eq!(canonical(platform, "to", text, false).ok().as_deref(), wanted, "{platform} {text}");
    }
    assert!(canonical(Platform::Wechat, "to", &"x".repeat(128), false).is_ok());
    assert!(canonical(Platform::Wechat, "to", &"x".repeat(129), false).is_err());
    assert_eq!(to_path(Platform::Signal, &group), group_url);
    assert_eq!(chat_id_from_path(Platform::Signal, &group_url), group);
}

#[test]
fn the_sandbox_takes_phone_numbers_everywhere() {
    for platform in Platform::ALL {
        let wanted = match platform {
            Platform::Whatsapp => "999000123456@s.whatsapp.net",
            Platform::Signal => "+999000123456",
            _ => "999000123456",
        };
        for text in ["+999000123456", "+999 000-123456", "999 000 123456", "999000123456"] {
            assert_eq!(canonical(platform, "to", text, true).ok().as_deref(), Some(wanted), "{platform} {text}");
        }
    }
    let group = canonical(Platform::Telegram, "to", "-1001234567890", true).ok();
    assert_eq!(group.as_deref(), Some("-1001234567890"), "a group stays a group");
    for text in ["0001234", "+000-1234"] {
        let id = canonical(Platform::Telegram, "to", text, true).ok();
        assert_eq!(id.as_deref(), Some("1234"), "{text}: an id has no zeros in front");
    }
}

#[test]
fn a_chat_of_the_history_needs_no_server() {
    for (text, wanted) in [
        ("4915112345678", "4915112345678@s.whatsapp.net"),
        ("+49 151 12345678", "4915112345678@s.whatsapp.net"),
        ("120363041234567890@g.us", "120363041234567890@g.us"),
        ("status@broadcast", "status@broadcast"),
        ("nobody", "nobody@s.whatsapp.net"),
    ] {
        assert_eq!(chat_id_from_path(Platform::Whatsapp, text), wanted);
    }
    assert_eq!(chat_id_from_path(Platform::Telegram, "@Durov"), "@durov");
    assert_eq!(chat_id_from_path(Platform::Wecom, "R:1"), "R:1");
}

#[test]
fn look_ups_ignore_what_people_write_between() {
    assert_eq!(comparable("+49 (151) 123-45"), "4915112345");
    assert_eq!(comparable("-1001234"), "-1001234");
    assert_eq!(comparable("@My_Bot"), "@my_bot");
    assert_eq!(comparable("4915112345@s.whatsapp.net"), "4915112345@s.whatsapp.net");
}

#[test]
fn platforms_have_lower_case_names() {
    for platform in Platform::ALL {
        assert_eq!(serde_json::to_value(platform).expect("JSON"), platform.as_str());
        assert_eq!(platform.as_str().parse::<Platform>().ok(), Some(platform));
    }
    assert!("WhatsApp".parse::<Platform>().is_err());
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[+]?[0-9 ()\\-]{0,20}",
        "[+0-9a-z:.\\-]{0,24}@(s\\.whatsapp\\.net|g\\.us|lid|newsletter|x)",
        "[@A-Za-z0-9_]{0,36}",
        "[A-Za-z0-9+/_\\-]{40,44}={0,2}",
        "(S|R):[ -~]{0,10}",
    ]
}

proptest! {
    #[test]
    fn canonical_is_idempotent_and_never_panics(text in texts(), sandbox in any::<bool>()) {
        for platform in Platform::ALL {
            if let Ok(once) = canonical(platform, "to", &text, sandbox) {
                prop_assert_eq!(canonical(platform, "to", &once, sandbox).ok(), Some(once.clone()), "{} {:?}", platform, &text);
                prop_assert_eq!(chat_id_from_path(platform, &once), once);
            }
            let chat = chat_id_from_path(platform, &text);
            prop_assert_eq!(chat_id_from_path(platform, &chat), chat);
            prop_assert!(to_path(platform, &text).len() <= text.len().max(1) * 2);
        }
    }

    #[test]
    fn comparable_is_idempotent(text in texts()) {
        let once = comparable(&text);
        prop_assert_eq!(comparable(&once), once);
    }
}
