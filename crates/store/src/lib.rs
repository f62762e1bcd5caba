//! The book: registrations, machines, issuances and events, durably
