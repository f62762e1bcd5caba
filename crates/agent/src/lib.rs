//! The machine side: enroll, renew, keep
