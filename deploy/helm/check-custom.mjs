// Reads custom resources as JSON and holds them to the schemas of their definitions; prints what is wrong, a line each.
import { readFileSync } from "node:fs";
import * as keda from "@kubernetes-models/keda/keda.sh/v1alpha1";
import * as operator from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";

const models = { "keda.sh/v1alpha1": keda, "monitoring.coreos.com/v1": operator };
let wrong = 0;
for (const one of JSON.parse(readFileSync(0, "utf8"))) {
  const place = `${one.kind}/${one.metadata.name}`;
  const Model = models[one.apiVersion]?.[one.kind];
  try {
    if (!Model) throw new Error(`no schema of ${one.apiVersion} ${one.kind}`);
    new Model(one).validate();
  } catch (error) {
    wrong += 1;
    console.log(`${place}: ${error.message}`);
  }
}
process.exit(wrong ? 1 : 0);
