//! Every key of the one table, in one place (protocol.md §1). Texts that users supply (addresses, e-mails, names) never
//! appear in keys: they are hashed with the deployment's index key first ([`crate::crypto::Keyring::index`]).
