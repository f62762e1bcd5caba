//! Keys at rest and the pens they hold: [`KeyFile`] keeps a private key encrypted, [`FileSigner`] signs with one.

mod entropy;
mod file_signer;
pub mod files;
mod jws;
mod key_file;
mod token_pen;

pub use entropy::Entropy;
pub use file_signer::{FileSigner, new_key};
pub use jws::{JwsError, Signature, sign_compact, sign_general};
pub use key_file::{KeyFile, KeyFileError, Strength};
pub use token_pen::{ACCESS_TOKEN, TokenKind, TokenPen, coordinates, thumbprint};
