//! Geolocation of viewers, from databases in MaxMind's format.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use maxminddb::{PathElement, Reader};
use serde::Deserialize;

/// A database could not be used.
#[derive(Debug, thiserror::Error)]
#[error("the geography database `{}` cannot be used: {reason}", path.display())]
pub struct DatabaseError {
    /// The file.
    pub path: PathBuf,
    /// The reason.
    pub reason: String,
}

/// The database files of a [`Geography`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Databases {
    /// The database of countries, and more if the file has it.
    pub places: PathBuf,
    /// The database of autonomous systems.
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
    /// Its coordinates, metro code and time zone.
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

/// A point on the globe.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Location<'a> {
    /// The latitude in degrees.
    pub latitude: Option<f64>,
    /// The longitude in degrees.
    pub longitude: Option<f64>,
    /// The market area in the USA.
    pub metro_code: Option<u16>,
    /// The IANA name.
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

    /// Looks up the location of an address.
    #[must_use]
    pub fn locate(&self, address: IpAddr) -> Option<NetworkLocation<'_>> {
        self.places.lookup(address).ok()?.decode().ok()?
    }

    /// The two-letter country code of an address.
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
        return Err(refuse(format!("its type is `{kind}`, which contains no {content}")));
    }
    if reader.metadata().ip_version != 6 {
        tracing::warn!(file = %path.display(), "the geography database contains only IPv4 addresses");
    }
    Ok(reader)
}

/// The countries whose viewers are allowed (Amazon CloudFront Developer Guide, "Restrict the geographic
/// distribution of your content"). Viewers from an unknown country are allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Countries {
    /// `whitelist`: only these countries.
    Only(Vec<String>),
    /// `blacklist`: all countries but these.
    Except(Vec<String>),
}

impl Countries {
    /// Whether viewers from a country are allowed.
    #[must_use]
    pub fn admit(&self, country: &str) -> bool {
        match self {
            Self::Only(codes) => codes.iter().any(|code| code == country),
            Self::Except(codes) => !codes.iter().any(|code| code == country),
        }
    }
}
