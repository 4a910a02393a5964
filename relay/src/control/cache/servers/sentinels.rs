//! Sentinels: who knows which server is the master now.

use super::{Nodes, Secrets, addresses};
use anyhow::Result;
use futures_util::future::select_ok;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{Client, ConnectionAddr, RedisResult, TlsMode};

pub(in crate::control) struct Sentinels {
    /// One at least.
    addresses: Vec<ConnectionAddr>,
    service: String,
    database: u16,
    user: Option<String>,
    secrets: Secrets,
}

impl Sentinels {
    pub(super) fn new(
        sentinels: &Nodes<'_>,
        service: &str,
        database: u16,
        secrets: Secrets,
    ) -> Result<Self> {
        let sentinels = Self {
            addresses: addresses(sentinels),
            service: service.to_owned(),
            database,
            user: sentinels.user.map(str::to_owned),
            secrets,
        };
        // An authority's file that is none is found now.
        sentinels.client(&sentinels.addresses, true)?;
        Ok(sentinels)
    }

    /// Asks all of them at once, as one that is gone must not hold up the others, and takes the
    /// first that names a server which says itself that it is the master.
    pub(super) async fn master(&self) -> RedisResult<Client> {
        let asked = self.addresses.iter().map(|sentinel| Box::pin(self.master_of(sentinel)));
        select_ok(asked).await.map(|(master, _)| master)
    }

    async fn master_of(&self, sentinel: &ConnectionAddr) -> RedisResult<Client> {
        let sentinel = std::slice::from_ref(sentinel);
        match self.client(sentinel, false)?.async_get_client().await {
            // It wants a password of its own: the servers' it is given, or none is.
            Err(error) if error.code() == Some("NOAUTH") && self.secrets.password.is_some() => {
                self.client(sentinel, true)?.async_get_client().await
            }
            answer => answer,
        }
    }

    /// The crate's own remembers connections to Sentinels, and asks them in their order.
    fn client(
        &self,
        sentinels: &[ConnectionAddr],
        with_password: bool,
    ) -> RedisResult<SentinelClient> {
        let master = SentinelServerType::Master;
        let mut builder = SentinelClientBuilder::new(sentinels.to_vec(), &self.service, master)?
            .set_client_to_redis_db(self.database.into());
        if let Some(user) = &self.user {
            builder = builder.set_client_to_redis_username(user);
            if with_password {
                builder = builder.set_client_to_sentinel_username(user);
            }
        }
        if let Some(password) = &self.secrets.password {
            builder = builder.set_client_to_redis_password(password);
            if with_password {
                builder = builder.set_client_to_sentinel_password(password);
            }
        }
        if let Some(certificates) = &self.secrets.certificates {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_certificates(certificates.clone());
        }
        builder.build()
    }
}
