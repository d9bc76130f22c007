package filter

// Aliases of the entities everybody has.
var (
	attributeAliases = []string{"attributes", "attr", "run"}
	metricAliases    = []string{"metrics"}
	paramAliases     = []string{"params", "param", "parameters"}
	tagAliases       = []string{"tags"}
	datasetAliases   = []string{"datasets"}
)

func text(stored string) Key { return Key{Stored: stored, Ops: Texts, Ordered: true} }
func list(stored string) Key { return Key{Stored: stored, Ops: Lists, Ordered: true} }
func num(stored string) Key  { return Key{Stored: stored, Type: Number, Ops: Numbers, Ordered: true} }

// filterOnly takes the ordering away.
func filterOnly(k Key) Key { k.Ordered = false; return k }

func metrics() Entity {
	return Entity{Name: Metric, Aliases: metricAliases, Any: &Key{Type: Number, Ops: Numbers, Ordered: true}}
}

func params(ops []string) Entity {
	return Entity{Name: Param, Aliases: paramAliases, Any: &Key{Ops: ops, Ordered: true}}
}

func tags(ops []string, ordered bool) Entity {
	return Entity{Name: Tag, Aliases: tagAliases, Any: &Key{Ops: ops, Ordered: ordered}}
}

// The grammars of what tracking and inventory keep. Keys of attributes are stored under our own names.
var (
	// Runs: attributes, latest metrics, parameters, tags, data that went in.
	Runs = &Grammar{[]Entity{
		{Name: Attribute, Aliases: attributeAliases, Keys: map[string]Key{
			"run_id": list("id"), "run_name": text("name"), "run name": text("name"), "Run name": text("name"), "Run Name": text("name"),
			"status": text("status"), "user_id": text("author"), "artifact_uri": text("artifact_uri"), "experiment_id": text("experiment"),
			"start_time": num("started_at"), "created": num("started_at"), "Created": num("started_at"), "end_time": num("ended_at"),
		}},
		metrics(), params(Nullable), tags(Nullable, true),
		{Name: Dataset, Aliases: datasetAliases, Keys: map[string]Key{
			"name": filterOnly(list("name")), "digest": filterOnly(list("digest")), "context": filterOnly(list("context")),
		}},
	}}
	// Experiments: attributes and tags.
	Experiments = &Grammar{[]Entity{
		{Name: Attribute, Aliases: attributeAliases, Keys: map[string]Key{
			"name": text("name"), "experiment_id": {Stored: "id", Ops: []string{Eq, Ne, In, NotIn}, Ordered: true},
			"creation_time": num("created_at"), "last_update_time": num("updated_at"),
		}},
		tags(Nullable, false),
	}}
	// LoggedModels: attributes, metrics, parameters, tags.
	LoggedModels = &Grammar{[]Entity{
		{Name: Attribute, Aliases: attributeAliases, Keys: map[string]Key{
			"name": list("name"), "model_id": list("id"), "model_type": list("kind"), "status": list("status"), "source_run_id": list("run"), "experiment_id": list("experiment"),
			"creation_timestamp": num("created_at"), "creation_time": num("created_at"), "last_updated_timestamp": num("updated_at"), "last_updated_time": num("updated_at"),
		}},
		metrics(), params(Lists), tags(Lists, true),
	}}
	// Models: registered models.
	Models = &Grammar{[]Entity{
		{Name: Attribute, Aliases: attributeAliases, Keys: map[string]Key{
			"name": list("name"), "creation_timestamp": num("created_at"), "last_updated_timestamp": num("updated_at"), "timestamp": num("updated_at"),
		}},
		tags(Nullable, false),
	}}
	// Versions: model versions.
	Versions = &Grammar{[]Entity{
		{Name: Attribute, Aliases: attributeAliases, Keys: map[string]Key{
			"name": list("name"), "run_id": filterOnly(list("run")), "source_path": filterOnly(text("origin")), "version_number": num("version"),
			"creation_timestamp": num("created_at"), "last_updated_timestamp": num("updated_at"),
		}},
		tags(Nullable, false),
	}}
)
