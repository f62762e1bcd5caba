//! The wire: request and response bodies, paths and problem codes
