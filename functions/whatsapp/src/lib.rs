//! HTTP route group: whatsapp.
