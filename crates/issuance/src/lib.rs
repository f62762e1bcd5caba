//! The corridor: from a proven key to an issued certificate
