//! The character set of the user's locale, as the host's programs see it.

use std::ffi::CStr;

/// How text is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// Characters of several bytes.
    Utf8,
    /// Bytes: the C locale, and all others that are not UTF-8.
    C,
}

impl Charset {
    /// What the environment says (LC_ALL, LC_CTYPE, LANG). A locale that is not installed counts
    /// as the C locale, as it does for the C library.
    pub fn of_environment() -> Self {
        Self::of_locale(c"")
    }

    /// The character set of this locale; the empty name stands for the environment's.
    fn of_locale(name: &CStr) -> Self {
        // SAFETY: the name is a string that ends in zero and lives until the call returns; the
        // null pointer asks for a new locale.
        let locale =
            unsafe { libc::newlocale(libc::LC_CTYPE_MASK, name.as_ptr(), std::ptr::null_mut()) };
        if locale.is_null() {
            return Self::C;
        }
        // SAFETY: the locale is valid until it is freed below, and so is the string, which always
        // ends in zero.
        let codeset = unsafe { CStr::from_ptr(libc::nl_langinfo_l(libc::CODESET, locale)) };
        let charset = if codeset == c"UTF-8" { Self::Utf8 } else { Self::C };
        // SAFETY: the locale is ours, and nothing refers to it any more.
        unsafe { libc::freelocale(locale) };
        charset
    }

    /// `UTF-8` or `C`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "UTF-8",
            Self::C => "C",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locales_are_what_the_c_library_says() {
        for (locale, charset) in [
            (c"C", Charset::C),
            (c"POSIX", Charset::C),
            (c"C.UTF-8", Charset::Utf8),
            (c"no_such_locale.UTF-8", Charset::C),
        ] {
            assert_eq!(Charset::of_locale(locale), charset, "{locale:?}");
        }
    }
}
