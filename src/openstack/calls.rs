//! How many requests were sent.

use std::sync::atomic::{AtomicU64, Ordering};

use reqwest::Method;

/// How many requests were made, by method; for metrics, and for those who count calls per container. One that is sent again after a broken
/// connection counts once.
#[derive(Debug, Default)]
pub struct Calls {
    get: AtomicU64,
    post: AtomicU64,
    put: AtomicU64,
    delete: AtomicU64,
    auth: AtomicU64,
}

impl Calls {
    /// `GET` to Neutron.
    pub fn get(&self) -> u64 {
        self.get.load(Ordering::Relaxed)
    }

    /// `POST` to Neutron.
    pub fn post(&self) -> u64 {
        self.post.load(Ordering::Relaxed)
    }

    /// `PUT` to Neutron.
    pub fn put(&self) -> u64 {
        self.put.load(Ordering::Relaxed)
    }

    /// `DELETE` to Neutron.
    pub fn delete(&self) -> u64 {
        self.delete.load(Ordering::Relaxed)
    }

    /// Authentications with Keystone.
    pub fn auth(&self) -> u64 {
        self.auth.load(Ordering::Relaxed)
    }

    /// All requests to Neutron.
    pub fn neutron(&self) -> u64 {
        self.get() + self.post() + self.put() + self.delete()
    }

    pub(super) fn count(&self, method: &Method) {
        let counter = match method.as_str() {
            "POST" => &self.post,
            "PUT" => &self.put,
            "DELETE" => &self.delete,
            _ => &self.get,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_authentication(&self) {
        self.auth.fetch_add(1, Ordering::Relaxed);
    }
}
