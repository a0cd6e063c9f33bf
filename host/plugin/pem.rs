//! What is wrong with a file in PEM, in fixed words. The reader's own errors hold lines of the file, and where its line
//! breaks were lost a line is the whole key.

use rustls::pki_types::pem::Error;

/// What is wrong, with nothing of what stands in the file. It fits behind a colon.
#[must_use]
pub fn pem_fault(error: &Error) -> &'static str {
    match error {
        Error::NoItemsFound => "no such section is in it",
        Error::MissingSectionEnd { .. } => {
            "a section has no END line of its own: BEGIN, the base64 and END each need lines of their own, and these \
             real line breaks"
        }
        Error::IllegalSectionStart { .. } => {
            "a BEGIN line goes on behind its dashes: BEGIN, the base64 and END each need lines of their own, and these \
             real line breaks"
        }
        Error::Base64Decode(_) => "what stands between BEGIN and END is not base64",
        Error::SectionTooLarge => "a section is too long",
        Error::Io(_) => "it cannot be read",
        _ => "it is not PEM",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use rustls::pki_types::PrivatePkcs8KeyDer;
    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    /// The same file as it comes out of a variable, of YAML or of a shell that took its line breaks, and cut off.
    pub(crate) fn spoilt(pem: &str) -> Vec<String> {
        let pem = pem.trim_end();
        let begin = pem.find('\n').unwrap();
        vec![
            pem.replace('\n', "\\n"),
            format!("{}\\n", pem.replace('\n', "\\n")),
            pem.replace('\n', " "),
            format!("{} \n", pem.replace('\n', " ")),
            pem.replace('\n', ""),
            pem.replacen('\n', "", 1),
            format!("{}\n-", pem.replacen('\n', "", 1)),
            pem[..pem.rfind("-----END").unwrap()].to_owned(),
            format!("{}\n!{}", &pem[..begin], &pem[begin + 1..]),
        ]
    }

    /// That no part of the file stands there, neither as text nor as the numbers of its bytes.
    pub(crate) fn assert_untold(told: &str, pem: &str) {
        let lines = pem.lines().filter(|line| !line.starts_with("-----") && line.len() >= 8);
        for line in lines {
            for part in line.as_bytes().chunks_exact(8) {
                let numbers = format!("{part:?}");
                let numbers = numbers.trim_matches(['[', ']']);
                assert!(!told.contains(numbers), "numbers of the file are told: {told}");
                let part = std::str::from_utf8(part).unwrap();
                assert!(!told.contains(part), "{part} of the file is told: {told}");
            }
        }
    }

    #[test]
    fn no_fault_holds_a_part_of_the_file() {
        let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIGUcPe0hdIPZ\nf6Yc9k0nPqcVGXIbXbQCJgM0zxk0\n\
                   -----END PRIVATE KEY-----\n";
        for text in spoilt(pem) {
            let error = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).unwrap_err();
            assert_untold(pem_fault(&error), pem);
        }
    }
}
