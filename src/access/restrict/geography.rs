//! Where viewers are, by a database in MaxMind's format.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use maxminddb::{PathElement, Reader};
use serde::Deserialize;

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the geography database `{}` cannot be used: {reason}", path.display())]
pub struct DatabaseError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// The files of a [`Geography`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Databases {
    /// Countries, and more if the file has it.
    pub places: PathBuf,
    /// Autonomous systems.
    pub networks: Option<PathBuf>,
}

/// Countries by address, and more if the databases have it.
pub struct Geography {
    path: PathBuf,
    places: Reader<Vec<u8>>,
    networks: Option<Reader<Vec<u8>>>,
}

impl std::fmt::Debug for Geography {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Geography").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The location of a network, in the database's terms.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct NetworkLocation<'a> {
    /// Its country.
    #[serde(borrow)]
    pub country: Area<'a>,
    /// Regions of the country, the largest first.
    pub subdivisions: Vec<Area<'a>>,
    /// Its city.
    pub city: Area<'a>,
    /// Its postal code.
    pub postal: Postal<'a>,
    /// Where it is on the globe.
    pub location: Location<'a>,
}

/// A country, a region or a city.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Area<'a> {
    /// ISO 3166 code.
    pub iso_code: Option<&'a str>,
    /// Names by language.
    #[serde(borrow)]
    pub names: Names<'a>,
}

/// Names by language.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Names<'a> {
    /// In English.
    pub en: Option<&'a str>,
}

/// A postal code.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Postal<'a> {
    /// The code.
    pub code: Option<&'a str>,
}

/// A point of the globe.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Location<'a> {
    /// Degrees.
    pub latitude: Option<f64>,
    /// Degrees.
    pub longitude: Option<f64>,
    /// The market area of the USA.
    pub metro_code: Option<u16>,
    /// IANA's name.
    pub time_zone: Option<&'a str>,
}

impl Geography {
    /// Reads the databases into memory.
    ///
    /// # Errors
    /// If a file cannot be read, or is not of the expected type.
    pub fn open(databases: &Databases) -> Result<Self, DatabaseError> {
        let places = open(&databases.places, &["Country", "City", "Enterprise"], "countries")?;
        let networks = databases.networks.as_deref();
        let networks = networks.map(|path| open(path, &["ASN", "ISP"], "autonomous systems"));
        Ok(Self { path: databases.places.clone(), places, networks: networks.transpose()? })
    }

    /// The number of the autonomous system that announces an address.
    #[must_use]
    pub fn autonomous_system(&self, address: IpAddr) -> Option<u32> {
        let number = [PathElement::Key("autonomous_system_number")];
        self.networks.as_ref()?.lookup(address).ok()?.decode_path(&number).ok()?
    }

    /// What is known of an address.
    #[must_use]
    pub fn locate(&self, address: IpAddr) -> Option<NetworkLocation<'_>> {
        self.places.lookup(address).ok()?.decode().ok()?
    }

    /// The country of an address, by its code of two letters.
    #[must_use]
    pub fn country(&self, address: IpAddr) -> Option<&str> {
        let code = [PathElement::Key("country"), PathElement::Key("iso_code")];
        self.places.lookup(address).ok()?.decode_path(&code).ok()?
    }
}

fn open(path: &Path, types: &[&str], content: &str) -> Result<Reader<Vec<u8>>, DatabaseError> {
    let refuse = |reason| DatabaseError { path: path.to_owned(), reason };
    let reader = Reader::open_readfile(path).map_err(|error| refuse(error.to_string()))?;
    let kind = &reader.metadata().database_type;
    if !types.iter().any(|known| kind.contains(known)) {
        return Err(refuse(format!("it is of the type `{kind}`, which has no {content}")));
    }
    if reader.metadata().ip_version != 6 {
        tracing::warn!(file = %path.display(), "the geography database knows IPv4 addresses only");
    }
    Ok(reader)
}

/// Which countries may come (Amazon CloudFront Developer Guide, "Restrict the geographic
/// distribution of your content"). Who is of no known country may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Countries {
    /// `whitelist`: only these.
    Only(Vec<String>),
    /// `blacklist`: all but these.
    Except(Vec<String>),
}

impl Countries {
    /// Whether viewers of a country may come.
    #[must_use]
    pub fn admit(&self, country: &str) -> bool {
        match self {
            Self::Only(codes) => codes.iter().any(|code| code == country),
            Self::Except(codes) => !codes.iter().any(|code| code == country),
        }
    }
}
