//! Queue or timer consumer: deliver-webhooks.
