//! The authorization server's routes: tokens for those who prove an identity, and what others need to believe them.

mod assertion;
mod authenticate;
mod discovery;
mod fault;
mod form;
mod introspect;
mod token;

pub use form::Form;

pub(super) use discovery::{jwks, metadata};
pub(super) use introspect::{introspect, revoke};
pub(super) use token::token;
