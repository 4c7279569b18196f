//! An embedded controller in this process, on a port of its own, and a client that talks to it over real HTTP.

use std::{future::pending, sync::Arc};

use kuryr::controller::{Controller, ControllerSettings};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

pub struct Cloud {
    pub controller: Arc<Controller>,
    pub base: String,
    pub client: Client,
    pub state: TempDir,
}

impl Cloud {
    pub async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let state = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listen = listener.local_addr().unwrap();
        let settings = ControllerSettings {
            state_dir: state.path().to_owned(),
            listen,
            host: "here".to_owned(),
            external_cidr: "172.24.4.0/24".parse().unwrap(),
        };
        let controller = Controller::open(settings).unwrap();
        tokio::spawn(Arc::clone(&controller).serve(listener, pending()));
        Self { controller, base: format!("http://{listen}"), client: Client::new(), state }
    }

    pub async fn login(&self, user: &str, project: &str, password: &str) -> (u16, Option<String>, Value) {
        let domain = json!({"id": "default"});
        self.authenticate(json!({
            "identity": {"methods": ["password"], "password": {"user": {"name": user, "domain": domain, "password": password}}},
            "scope": {"project": {"name": project, "domain": domain}},
        }))
        .await
    }

    /// Logs in with the member `auth` of the body: status, token, answer.
    pub async fn authenticate(&self, auth: Value) -> (u16, Option<String>, Value) {
        let request = self.client.post(format!("{}/identity/v3/auth/tokens", self.base)).json(&json!({"auth": auth}));
        let reply = request.send().await.unwrap();
        let token = reply.headers().get("x-subject-token").map(|value| value.to_str().unwrap().to_owned());
        (reply.status().as_u16(), token, reply.json().await.unwrap())
    }

    pub async fn admin(&self) -> String {
        let password = std::fs::read_to_string(self.state.path().join("admin-password")).unwrap();
        self.login("admin", "admin", &password).await.1.unwrap()
    }

    pub async fn call(&self, token: &str, method: Method, path: &str, body: Value) -> (u16, Value) {
        let mut request = self.client.request(method, format!("{}{path}", self.base)).header("x-auth-token", token);
        if !body.is_null() {
            request = request.json(&body);
        }
        let reply = request.send().await.unwrap();
        assert!(reply.headers()["x-openstack-request-id"].to_str().unwrap().starts_with("req-"));
        let status = reply.status().as_u16();
        (status, serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap_or_default())
    }
}
