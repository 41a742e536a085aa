//! Queue or timer consumer: sweep.
