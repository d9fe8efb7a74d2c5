//! Certificates for the servers and clients of a test, all of them PEM files in its folder.

use std::path::PathBuf;

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use stack::Dir;

/// A CA of a company's own.
pub struct Authority<'a> {
    dir: &'a Dir,
    name: &'static str,
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub file: PathBuf,
}

impl<'a> Authority<'a> {
    pub fn new(dir: &'a Dir, name: &'static str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate()?;
        let file = dir.write(&format!("{name}.pem"), params.self_signed(&key)?.pem())?;
        Ok(Authority { dir, name, issuer: Issuer::new(params, key), file })
    }

    /// A certificate for `host` and its key, in one file.
    pub fn issue(&self, host: &str) -> Result<PathBuf> {
        self.issue_until(host, 2100)
    }

    /// One that ended long ago.
    pub fn issue_expired(&self, host: &str) -> Result<PathBuf> {
        self.issue_until(host, 2021)
    }

    fn issue_until(&self, host: &str, year: i32) -> Result<PathBuf> {
        let mut params = CertificateParams::new([host.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, host);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let pem = certificate.pem() + &key.serialize_pem();
        self.dir.write(&format!("{}-{host}-{year}.pem", self.name), pem)
    }
}
