//! The black-box suite, its peers, the contract suites.
