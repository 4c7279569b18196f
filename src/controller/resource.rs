//! The requests that all Neutron resources share: create (single and bulk), list, show, update, delete.

use rusqlite::Transaction;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    attributes::{Attribute, for_create, for_update, plain},
    context::{Context, seconds, timestamp},
    error::ApiError,
    query::{self, Query},
    quota::usage,
    store::{self, Object},
};

/// A request inside its transaction.
#[derive(Debug)]
pub struct Call<'a> {
    /// The transaction; an error rolls it back.
    pub tx: &'a Transaction<'a>,
    /// Who asks.
    pub context: &'a Context,
    /// This machine's name: ports bound to it get a wire.
    pub host: &'a str,
}

/// The ids of the only objects that can be in a list, or `None` when any may be.
pub type Only = Option<Vec<String>>;

/// A kind of object: its names, its attributes, and what is special about its life.
#[derive(Debug)]
pub struct Resource {
    /// `network`.
    pub singular: &'static str,
    /// `networks`: in the path, the body, and the table's name.
    pub collection: &'static str,
    /// `Network`, as messages call it.
    pub title: &'static str,
    /// `NetworkNotFound`.
    pub not_found: &'static str,
    /// The table's columns besides `document`; they are fields of the object.
    pub columns: &'static [&'static str],
    /// The attributes besides [`super::attributes::STANDARD`].
    pub attributes: &'static [Attribute],
    /// Completes a new object (checked, with id, project and times) and stores it.
    pub create: fn(&Call<'_>, Object) -> Result<Object, ApiError>,
    /// Applies checked changes to the stored object; the caller writes the result.
    pub update: fn(&Call<'_>, Object, Object) -> Result<Object, ApiError>,
    /// Removes what hangs on the object, or refuses; the caller removes the object.
    pub delete: fn(&Call<'_>, &Object) -> Result<(), ApiError>,
    /// Makes what a list must show although nobody has made it yet, and names the only objects that can be in it, when there is a faster way
    /// to them than to look at all.
    pub before_list: fn(&Call<'_>, &Query) -> Result<Only, ApiError>,
    /// Adds what is not stored but computed, such as a network's subnets.
    pub view: fn(&Call<'_>, &mut Object) -> Result<(), ApiError>,
}

/// A text field of an object, empty where it is none.
pub fn text<'o>(object: &'o Object, name: &str) -> &'o str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A boolean field of an object, false where it is none.
pub fn flag(object: &Object, name: &str) -> bool {
    object.get(name).and_then(Value::as_bool).unwrap_or_default()
}

/// An update without rules of its own: the changes over the object.
pub fn merge(_call: &Call<'_>, mut object: Object, changes: Object) -> Result<Object, ApiError> {
    object.extend(changes);
    Ok(object)
}

/// A list that shows what is there.
pub fn as_is(_call: &Call<'_>, _query: &Query) -> Result<Only, ApiError> {
    Ok(None)
}

/// A view without computed fields.
pub fn as_stored(_call: &Call<'_>, _object: &mut Object) -> Result<(), ApiError> {
    Ok(())
}

impl Resource {
    /// Stores an object; a broken constraint is an internal error here, where it matters `create` stores it itself.
    pub fn insert(&self, call: &Call<'_>, object: &Object) -> Result<(), ApiError> {
        Ok(store::insert(call.tx, self.collection, self.columns, object)?)
    }

    /// Finds an object that the caller may see, or 404: what is hidden does not exist.
    pub fn find(&self, call: &Call<'_>, id: &str) -> Result<Object, ApiError> {
        let found = store::find(call.tx, self.collection, id)?;
        if let Some(object) = found
            && (call.context.sees(&object) || self.owns_network(call, &object)?)
        {
            return Ok(object);
        }
        Err(ApiError::not_found(self.not_found, self.title, id))
    }

    /// Whether the object is on a network of the caller's project, whose owner may see and delete its guests' ports.
    fn owns_network(&self, call: &Call<'_>, object: &Object) -> Result<bool, ApiError> {
        if !self.columns.contains(&"network_id") {
            return Ok(false);
        }
        let mut query = call.tx.prepare_cached("SELECT EXISTS (SELECT 1 FROM networks WHERE id = ? AND project_id = ?)")?;
        Ok(query.query_row((text(object, "network_id"), &call.context.project), |row| row.get(0))?)
    }

    /// POST: one object, or several of which all or none are made.
    pub fn post(&self, call: &Call<'_>, mut body: Object) -> Result<Value, ApiError> {
        if let Some(Value::Array(items)) = body.remove(self.collection) {
            let made = items.into_iter().map(|item| self.create_one(call, item)).collect::<Result<Vec<_>, _>>()?;
            return Ok(json!({self.collection: made}));
        }
        let item = self.unwrap(body)?;
        Ok(json!({self.singular: self.create_one(call, Value::Object(item))?}))
    }

    fn unwrap(&self, mut body: Object) -> Result<Object, ApiError> {
        match body.remove(self.singular) {
            Some(Value::Object(item)) => Ok(item),
            _ => Err(ApiError::bad_request("HTTPBadRequest", format!("Unable to find '{}' in request body", self.singular))),
        }
    }

    fn create_one(&self, call: &Call<'_>, item: Value) -> Result<Object, ApiError> {
        let Value::Object(item) = item else {
            return Err(ApiError::bad_request("HTTPBadRequest", "Invalid body: each item must be an object"));
        };
        let mut object = for_create(self.attributes, call.context, item)?;
        let given = [object.remove("project_id"), object.remove("tenant_id")].into_iter().flatten().next();
        let project = given.map_or_else(|| call.context.project.clone(), |value| plain(&value));
        if !call.context.member || project != call.context.project && !call.context.admin {
            return Err(ApiError::forbidden(&format!("rule:create_{}", self.singular)));
        }
        // Counted in the transaction that stores it, so that two creates cannot both take the last place.
        usage::enforce(call.tx, &project, self.singular, 1)??;
        let now = timestamp(seconds());
        object.insert("id".into(), json!(Uuid::new_v4().to_string()));
        object.insert("project_id".into(), json!(project));
        object.insert("tenant_id".into(), json!(project));
        object.insert("created_at".into(), json!(now));
        object.insert("updated_at".into(), json!(now));
        object.insert("revision_number".into(), json!(0));
        object.insert("tags".into(), json!([]));
        let mut object = (self.create)(call, object)?;
        (self.view)(call, &mut object)?;
        Ok(object)
    }

    /// GET on the collection.
    pub fn list(&self, call: &Call<'_>, query: &Query, url: &str) -> Result<Value, ApiError> {
        let only = (self.before_list)(call, query)?;
        // An indexed column narrows the rows that are read; the filters then run over what is left.
        let narrow = query.iter().find(|(name, _)| {
            (name == "id" || self.columns.contains(&name.as_str())) && query.iter().filter(|(other, _)| other == name).count() == 1
        });
        let narrow = narrow.filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.as_str(), value.as_str()));
        let objects = match only {
            Some(ids) => {
                let found = ids.iter().map(|id| store::find(call.tx, self.collection, id)).collect::<Result<Vec<_>, _>>()?;
                found.into_iter().flatten().collect()
            }
            None => store::select(call.tx, self.collection, narrow)?,
        };
        let mut kept = Vec::with_capacity(objects.len());
        for object in objects {
            if call.context.sees(&object) || self.owns_network(call, &object)? {
                kept.push(object);
            }
        }
        let mut objects = kept;
        for object in &mut objects {
            (self.view)(call, object)?;
        }
        let (objects, links) = query::page(self, objects, query, url)?;
        let objects: Vec<Object> = objects.into_iter().map(|object| query::project_fields(object, query)).collect();
        let mut answer = json!({self.collection: objects});
        if let (Some(links), Some(map)) = (links.filter(|links| links != &json!([])), answer.as_object_mut()) {
            map.insert(format!("{}_links", self.collection), links);
        }
        Ok(answer)
    }

    /// GET on one object.
    pub fn show(&self, call: &Call<'_>, id: &str, query: &Query) -> Result<Value, ApiError> {
        let mut object = self.find(call, id)?;
        (self.view)(call, &mut object)?;
        Ok(json!({self.singular: query::project_fields(object, query)}))
    }

    /// PUT on one object.
    pub fn put(&self, call: &Call<'_>, id: &str, body: Object) -> Result<Value, ApiError> {
        let item = self.unwrap(body)?;
        let object = self.find(call, id)?;
        if !call.context.owns(&object) {
            return Err(ApiError::forbidden(&format!("rule:update_{}", self.singular)));
        }
        let changes = for_update(self.attributes, call.context, item)?;
        let mut object = (self.update)(call, object, changes)?;
        self.touch(&mut object);
        store::replace(call.tx, self.collection, self.columns, &object)?;
        (self.view)(call, &mut object)?;
        Ok(json!({self.singular: object}))
    }

    /// Raises the revision and the time of the last change.
    pub fn touch(&self, object: &mut Object) {
        let revision = object.get("revision_number").and_then(Value::as_i64).unwrap_or_default();
        object.insert("revision_number".into(), json!(revision + 1));
        object.insert("updated_at".into(), json!(timestamp(seconds())));
    }

    /// DELETE on one object.
    pub fn remove(&self, call: &Call<'_>, id: &str) -> Result<(), ApiError> {
        let object = self.find(call, id)?;
        let allowed = call.context.owns(&object) || call.context.member && self.owns_network(call, &object)?;
        if !allowed {
            return Err(ApiError::forbidden(&format!("rule:delete_{}", self.singular)));
        }
        (self.delete)(call, &object)?;
        Ok(store::remove(call.tx, self.collection, id)?)
    }
}
