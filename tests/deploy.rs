//! What deploy/ holds cannot be run everywhere, so it is at least parsed, and held to what it must say.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

fn read(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value
        .pointer(pointer)
        .unwrap_or_else(|| panic!("no `{pointer}` in {value}"))
}

fn strings(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item.as_str().unwrap())
        .collect()
}

/// The configuration's sections, each with what it must say.
fn check_configuration(text: &str) {
    let table: toml::Table = text.parse().unwrap();
    let at = |path: &str| {
        let mut value = toml::Value::Table(table.clone());
        for key in path.split('.') {
            value = value
                .get(key)
                .unwrap_or_else(|| panic!("no `{path}`"))
                .clone();
        }
        value
    };
    for path in ["server.listen", "admin.listen", "policy.path"] {
        assert!(at(path).is_str(), "{path}");
    }
    for section in ["system", "stores.postgres", "stores.mysql"] {
        for key in ["host", "database", "user", "password_file"] {
            assert!(at(&format!("{section}.{key}")).is_str(), "{section}.{key}");
        }
        assert!(at(&format!("{section}.port")).is_integer(), "{section}");
    }
    assert!(
        at("stores.mongodb.uri")
            .as_str()
            .unwrap()
            .starts_with("mongodb://")
    );
    assert!(
        at("stores.redis.url")
            .as_str()
            .unwrap()
            .starts_with("rediss://")
    );
    for section in [
        "system",
        "stores.postgres",
        "stores.mysql",
        "stores.mongodb",
        "stores.redis",
    ] {
        let mode = at(&format!("{section}.tls.mode"));
        assert_eq!(mode.as_str(), Some("verify-full"), "{section}");
        assert!(at(&format!("{section}.tls.ca_file")).is_str(), "{section}");
        assert!(
            at(&format!("{section}.password_file")).is_str(),
            "{section}"
        );
    }
    // The system connection has credentials of its own.
    assert_ne!(at("system.user"), at("stores.postgres.user"));
    assert_ne!(
        at("system.password_file"),
        at("stores.postgres.password_file")
    );
}

#[test]
fn compose_has_the_four_databases_and_the_sidecar() {
    let compose = yaml("compose.yaml");
    let images = [
        ("postgres", "postgres:16-alpine"),
        ("mysql", "mysql:8.0"),
        ("mongodb", "mongo:7.0"),
        ("redis", "redis:7-alpine"),
        ("bulkhead", "bulkhead"),
    ];
    for (service, image) in images {
        let service_at = format!("/services/{service}");
        assert_eq!(
            at(&compose, &format!("{service_at}/image")),
            image,
            "{service}"
        );
        assert!(
            at(&compose, &service_at).get("healthcheck").is_some(),
            "{service}"
        );
    }
    let databases = [
        (
            "/services/postgres/environment/POSTGRES_DB",
            "enterprise_system_db",
        ),
        (
            "/services/mysql/environment/MYSQL_DATABASE",
            "enterprise_app_db",
        ),
    ];
    for (pointer, name) in databases {
        assert_eq!(at(&compose, pointer), name);
    }
    for database in ["postgres", "mysql", "mongodb", "redis"] {
        let service = at(&compose, &format!("/services/{database}"));
        assert!(service.get("ports").is_none(), "{database} is published");
        assert_eq!(strings(&service["networks"]), ["databases"], "{database}");
    }
    assert_eq!(at(&compose, "/networks/databases/internal"), true);
    for port in strings(at(&compose, "/services/bulkhead/ports")) {
        assert!(port.starts_with("127.0.0.1:"), "{port}");
    }
}

#[test]
fn compose_names_what_exists() {
    let compose = yaml("compose.yaml");
    let services = at(&compose, "/services").as_object().unwrap();
    let example = read(".env.example");
    for (name, secret) in at(&compose, "/secrets").as_object().unwrap() {
        let variable = at(secret, "/environment").as_str().unwrap();
        assert!(
            example.contains(&format!("\n{variable}=\n")),
            "{name}: {variable}"
        );
    }
    for (name, service) in services {
        for secret in service
            .get("secrets")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            assert!(
                compose["secrets"].get(secret.as_str().unwrap()).is_some(),
                "{name}: {secret}"
            );
        }
        for volume in service
            .get("volumes")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let source = volume.as_str().unwrap().split(':').next().unwrap();
            match source.strip_prefix("./") {
                Some(file) => drop(read(file)),
                None => assert!(compose["volumes"].get(source).is_some(), "{name}: {source}"),
            }
        }
        let needed = service
            .get("depends_on")
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        for (needed, _) in needed {
            assert!(services.contains_key(needed), "{name}: {needed}");
        }
    }
    let configuration = read("compose/bulkhead.toml");
    check_configuration(&configuration);
    let granted = strings(at(&compose, "/services/bulkhead/secrets"));
    let asked: BTreeSet<&str> = configuration
        .lines()
        .filter_map(|line| {
            line.strip_prefix("password_file = \"/run/secrets/")?
                .strip_suffix('"')
        })
        .collect();
    assert_eq!(asked, granted.into_iter().collect());
}

fn kubernetes() -> Vec<Value> {
    serde_saphyr::from_multiple(&read("kubernetes/sidecar.yaml")).unwrap()
}

fn object(objects: &[Value], kind: &str, name: &str) -> Value {
    let found = objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}")).clone()
}

#[test]
fn kubernetes_runs_a_native_sidecar_that_is_locked_down() {
    let objects = kubernetes();
    for object in &objects {
        for field in ["apiVersion", "kind", "metadata"] {
            assert!(object.get(field).is_some(), "{object}");
        }
    }
    let deployment = object(&objects, "Deployment", "app");
    let labels = at(&deployment, "/spec/template/metadata/labels");
    assert_eq!(at(&deployment, "/spec/selector/matchLabels"), labels);
    let pod = at(&deployment, "/spec/template/spec");
    let sidecar = at(pod, "/initContainers/0");
    assert_eq!(sidecar["restartPolicy"], "Always");
    let probes = [
        ("startupProbe", "/livez"),
        ("livenessProbe", "/livez"),
        ("readinessProbe", "/readyz"),
    ];
    for (probe, path) in probes {
        assert_eq!(at(sidecar, &format!("/{probe}/httpGet/path")), path);
        assert_eq!(at(sidecar, &format!("/{probe}/httpGet/port")), "admin");
    }
    for container in [sidecar, at(pod, "/containers/0")] {
        let security = at(container, "/securityContext");
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(strings(at(security, "/capabilities/drop")), ["ALL"]);
        assert!(at(container, "/resources/limits").get("memory").is_some());
    }
    assert_eq!(at(pod, "/securityContext/runAsNonRoot"), true);
    assert_eq!(pod["automountServiceAccountToken"], false);
    // The application holds a key, and no database's password.
    let app = at(pod, "/containers/0");
    assert!(app.get("volumeMounts").is_none());
    assert_eq!(
        at(app, "/env/1/valueFrom/secretKeyRef/name"),
        "app-bulkhead-key"
    );
}

#[test]
fn kubernetes_mounts_what_exists() {
    let objects = kubernetes();
    let deployment = object(&objects, "Deployment", "app");
    let pod = at(&deployment, "/spec/template/spec");
    let volumes = pod["volumes"].as_array().unwrap();
    for volume in volumes {
        if let Some(map) = volume.get("configMap") {
            object(&objects, "ConfigMap", map["name"].as_str().unwrap());
        }
        if let Some(secret) = volume.get("secret") {
            object(&objects, "Secret", secret["secretName"].as_str().unwrap());
        }
    }
    for mount in at(pod, "/initContainers/0/volumeMounts")
        .as_array()
        .unwrap()
    {
        let mounted = volumes.iter().any(|volume| volume["name"] == mount["name"]);
        assert!(mounted, "{mount}");
        // A subPath never shows a changed ConfigMap.
        assert!(mount["name"] != "policy" || mount.get("subPath").is_none());
    }
    let config = object(&objects, "ConfigMap", "bulkhead-config");
    let config = config["data"]["bulkhead.toml"].as_str().unwrap();
    check_configuration(config);
    assert!(config.contains("listen = \"127.0.0.1:8080\""));
    let secret = object(&objects, "Secret", "bulkhead-databases");
    for (key, value) in secret["stringData"].as_object().unwrap() {
        assert_eq!(value, "", "a password is committed");
        assert!(
            config.contains(&format!("\"/run/secrets/bulkhead/{key}\"")),
            "{key}"
        );
    }
    let policy = object(&objects, "ConfigMap", "bulkhead-policy");
    assert_eq!(policy["data"]["policy.toml"], read("compose/policy.toml"));
}

/// The sidecar's metrics, without what a histogram appends.
const METRICS: [&str; 31] = [
    "database_query_duration_seconds",
    "database_connection_pool_size",
    "database_connection_pool_in_use",
    "database_connection_pool_idle",
    "database_connection_pool_waiting",
    "database_connection_pool_max",
    "database_connection_pool_wait_seconds",
    "database_errors_total",
    "database_up",
    "bulkhead_requests_total",
    "bulkhead_overhead_seconds",
    "bulkhead_policy_decisions_total",
    "bulkhead_rate_limit_total",
    "bulkhead_auth_total",
    "bulkhead_audit_queued",
    "bulkhead_audit_written_total",
    "bulkhead_audit_spooled",
    "bulkhead_token_issuer_keys",
    "bulkhead_audit_failures_total",
    "bulkhead_audit_seal_failures_total",
    "bulkhead_audit_seal_export_failures_total",
    "bulkhead_policy_info",
    "bulkhead_policy_reloads_total",
    "bulkhead_tls_certificate_expiry_seconds",
    "bulkhead_tls_reloads_total",
    "bulkhead_build_info",
    "bulkhead_native_grants_differences",
    "bulkhead_native_grants_known",
    "bulkhead_store_held_back",
    "process_resident_memory_bytes",
    "up",
];

#[test]
fn prometheus_loads_rules_on_metrics_that_exist() {
    let prometheus = yaml("prometheus/prometheus.yml");
    assert_eq!(strings(&prometheus["rule_files"]), ["bulkhead.rules.yml"]);
    for job in prometheus["scrape_configs"].as_array().unwrap() {
        assert!(job["job_name"].is_string());
        assert!(
            job.get("static_configs")
                .or(job.get("kubernetes_sd_configs"))
                .is_some(),
            "{job}"
        );
    }
    let rules = yaml("prometheus/bulkhead.rules.yml");
    let mut names = BTreeSet::new();
    for group in rules["groups"].as_array().unwrap() {
        assert!(names.insert(group["name"].as_str().unwrap().to_owned()));
        for rule in group["rules"].as_array().unwrap() {
            let name = rule["alert"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "{name} stands there twice");
            let severity = at(rule, "/labels/severity").as_str().unwrap();
            assert!(
                ["info", "warning", "critical"].contains(&severity),
                "{name}"
            );
            for text in ["/annotations/summary", "/annotations/description"] {
                assert!(at(rule, text).is_string(), "{name}");
            }
            check_expression(name, rule["expr"].as_str().unwrap());
        }
    }
    assert!(names.len() > 10);
}

/// Every selector names one of our metrics and errors by their codes, and brackets are balanced.
fn check_expression(name: &str, expression: &str) {
    for kind in expression.split("kind=\"").skip(1) {
        let kind = kind.split('"').next().unwrap();
        let codes = bulkhead::error::Code::ALL.iter();
        let mut codes = codes.map(|code| code.as_str());
        assert!(codes.any(|code| code == kind), "{name}: no code {kind}");
    }
    let word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let metrics: Vec<&str> = expression
        .split(|character| !word(character))
        .filter(|word| word.starts_with("database_") || word.starts_with("bulkhead_"))
        .map(|word| word.strip_suffix("_bucket").unwrap_or(word))
        .collect();
    assert!(
        !metrics.is_empty() || expression.contains("up{"),
        "{name}: {expression}"
    );
    for metric in metrics {
        assert!(METRICS.contains(&metric), "{name}: {metric}");
    }
    for (open, close) in [('(', ')'), ('[', ']'), ('{', '}')] {
        assert_eq!(
            expression.matches(open).count(),
            expression.matches(close).count(),
            "{name}"
        );
    }
}

#[test]
fn the_image_runs_as_nobody_in_particular() {
    let dockerfile = read("Dockerfile");
    let lines: Vec<&str> = dockerfile.lines().collect();
    let last_stage = lines
        .iter()
        .rposition(|line| line.starts_with("FROM "))
        .unwrap();
    assert!(lines[last_stage].starts_with("FROM debian:bookworm-slim"));
    assert!(lines[last_stage..].contains(&"USER 65532:65532"));
    assert!(dockerfile.contains("cargo build --locked --profile dist --bin bulkhead"));
    for line in &lines {
        if let Some(copied) = line.strip_prefix("COPY --chmod=0755 deploy/") {
            read(copied.split(' ').next().unwrap());
        }
    }
}
