//! The application: the same for both runtimes.

use axum::{
    Router,
    extract::Path,
    http::StatusCode,
    routing::{get, post},
};

/// The routes.
pub fn router() -> Router {
    Router::new()
        .route("/", get(|| async { "Hello, World!" }))
        .route("/users/{id}", get(user))
        .route("/echo", post(|body: String| async { body }))
        .route("/crash", get(crash))
}

async fn user(Path(id): Path<String>) -> Result<String, (StatusCode, String)> {
    match id.parse::<u32>() {
        Ok(id) => Ok(format!("{{\"id\":{id},\"name\":\"user {id}\"}}")),
        Err(_) => Err((StatusCode::BAD_REQUEST, format!("{id:?} is no number of a user"))),
    }
}

async fn crash() -> &'static str {
    panic!("somebody has asked for it")
}
