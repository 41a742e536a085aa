//! Queue or timer consumer: run-jobs.
