//! Films: nothing is filmed. Who asks how far one is finds it under way the first time and done the second.

use serde_json::{Value, json};

use super::{
    call::{Call, Reply, ok},
    chat::Head,
    refusal::Refusal,
    simulator::{Simulator, lock},
};

#[derive(Debug)]
pub(super) struct Film {
    whole: Value,
    asked: u32,
}

impl Film {
    fn new(head: &Head, call: &Call) -> Self {
        let whole = json!({
            "id": head.id, "object": "video", "created_at": head.created, "model": head.model, "status": "queued",
            "progress": 0, "completed_at": null, "expires_at": null, "error": null, "remixed_from_video_id": null,
            "prompt": call.text("prompt"), "seconds": call.text("seconds").unwrap_or("4"),
            "size": call.text("size").unwrap_or("720x1280"),
        });
        Self { whole, asked: 0 }
    }

    fn shown(&self) -> Value {
        let mut shown = self.whole.clone();
        let (status, progress) = match self.asked {
            0 => ("queued", 0),
            1 => ("in_progress", 50),
            _ => ("completed", 100),
        };
        (shown["status"], shown["progress"]) = (status.into(), progress.into());
        if progress == 100 {
            shown["completed_at"] = shown["created_at"].clone();
        }
        shown
    }
}

impl Simulator {
    pub(super) fn film(&self, call: &Call) -> Result<Reply, Refusal> {
        call.text("prompt").ok_or_else(|| Refusal::missing("prompt"))?;
        let head = self.head("video_", call);
        let film = Film::new(&head, call);
        let shown = film.shown();
        lock(&self.films).put(&call.key, &head.id, film);
        Ok(ok(shown))
    }

    pub(super) fn filmed(&self, call: &Call, id: &str) -> Result<Reply, Refusal> {
        let mut films = lock(&self.films);
        let film = films.get_mut(&call.key, id).ok_or_else(|| Refusal::unknown_response(id))?;
        film.asked += 1;
        Ok(ok(film.shown()))
    }
}
