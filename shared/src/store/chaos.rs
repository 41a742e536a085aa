//! Faults over the storage traits.
