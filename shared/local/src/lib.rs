//! Store and queues on one SQLite file.
