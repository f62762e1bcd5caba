//! For services.
