//! Keys at rest and the pens they hold: [`KeyFile`] keeps a private key encrypted, [`FileSigner`] signs with one.

mod entropy;
mod es256;
mod file_signer;
pub mod files;
mod jws;
mod key_file;
mod key_hasher;
mod token_pen;

pub use entropy::Entropy;
pub use es256::{Algorithms, verifies};
pub use file_signer::{FileSigner, new_key};
pub use jws::{JwsError, Signature, sign_compact, sign_general};
pub use key_file::{KeyFile, KeyFileError, Strength};
pub use key_hasher::KeyHasher;
pub use token_pen::{ACCESS_TOKEN, TokenKind, TokenPen, coordinates, thumbprint};
