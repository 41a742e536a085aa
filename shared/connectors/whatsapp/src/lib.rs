//! WhatsApp as a linked device, on `whatsapp-rust`.

mod store;
