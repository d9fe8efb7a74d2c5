//! Builds all servers ahead of time, for example to cache them in CI, and
//! prints the variables that name them.

fn main() -> anyhow::Result<()> {
    println!("KAFKA_LIBS={}", stack::kafka_libs()?.display());
    println!("KCAT={}", stack::kcat_binary()?.display());
    println!("TELEGRAF={}", stack::telegraf_binary()?.display());
    println!("OLD_TELEGRAF={}", stack::old_telegraf_binary()?.display());
    println!("INFLUX={}", stack::influx_binary()?.display());
    println!("CARGO_DEB={}", stack::cargo_deb_binary()?.display());
    println!("CARGO_ABOUT={}", stack::cargo_about_binary()?.display());
    println!("CARGO_GENERATE_RPM={}", stack::cargo_generate_rpm_binary()?.display());
    println!("CARGO_CYCLONEDX={}", stack::cargo_cyclonedx_binary()?.display());
    println!("ACTIONLINT={}", stack::actionlint_binary()?.display());
    println!("KUBECONFORM={}", stack::kubeconform_binary()?.display());
    println!("KUBERNETES_SCHEMAS={}", stack::kubernetes_schemas()?.display());
    println!("CRANE={}", stack::crane_binary()?.display());
    println!("QEMU_AARCH64={}", stack::qemu_aarch64_binary()?.display());
    println!("DEBIAN={}", stack::debian_root()?.display());
    println!("DEBIAN_TOOLS={}", stack::debian_tools_root()?.display());
    println!("DEBIAN_RPM={}", stack::debian_rpm_root()?.display());
    println!("GRAFANA_SCHEMA={}", stack::grafana_schema()?.display());
    println!("PYTHON_WITH_SCIPY={}", stack::python_binary()?.display());
    println!("PYTHON_WITH_CLOUDEVENTS={}", stack::cloudevents_binary()?.display());
    println!("PYTHON_WITH_ALGORITHMIA={}", stack::algorithmia_binary()?.display());
    println!("INFLUXD={}", stack::influxd_binary()?.display());
    Ok(())
}
