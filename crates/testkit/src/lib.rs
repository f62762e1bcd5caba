//! Development only: forged certificates, fixtures and seeded randomness
