//! How much kernel memory this program's factory may still spend: what the largest factory that it can make
//! may spend.

use runtime::{
    Error, Result,
    capability::{Cap, Factory},
    protocol::{Word, error::ObjectError},
};

/// To the byte.
pub fn left(factory: Cap<Factory>) -> Result<Word> {
    let (mut enough, mut too_much): (Word, Word) = (0, 1 << 30);
    while too_much - enough > 1 {
        let middle = enough.midpoint(too_much);
        match factory.create_factory(middle) {
            Ok(largest) => {
                largest.end()?;
                enough = middle;
            }
            Err(Error::Object(ObjectError::NoMemory)) => too_much = middle,
            Err(error) => return Err(error),
        }
    }
    Ok(enough)
}
