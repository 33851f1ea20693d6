/// The objects of Kubernetes itself, as far as a mesh uses them.
public enum Kubernetes {}

/// Fields that are legal Kubernetes and mean nothing to a mesh. They are known, so that a misspelt field is still found;
/// what is below them is not looked at. Source: Kubernetes API reference 1.34.
enum KubernetesFields {
    static let service = [
        "externalIPs", "externalTrafficPolicy", "healthCheckNodePort", "allocateLoadBalancerNodePorts",
        "loadBalancerClass", "loadBalancerIP", "loadBalancerSourceRanges", "ipFamilies", "ipFamilyPolicy",
    ]

    static let deployment = [
        "strategy", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds", "paused",
    ]

    static let pod = [
        "affinity", "automountServiceAccountToken", "dnsConfig", "dnsPolicy", "enableServiceLinks",
        "ephemeralContainers", "hostAliases", "hostIPC", "hostNetwork", "hostPID", "hostUsers", "hostnameOverride",
        "imagePullSecrets", "nodeName", "nodeSelector", "os", "overhead", "preemptionPolicy", "priority",
        "priorityClassName", "readinessGates", "resourceClaims", "resources", "restartPolicy", "runtimeClassName",
        "schedulerName", "schedulingGates", "securityContext", "setHostnameAsFQDN", "shareProcessNamespace",
        "terminationGracePeriodSeconds", "tolerations", "topologySpreadConstraints", "volumes",
        "activeDeadlineSeconds", "workloadRef",
    ]

    static let container = [
        "args", "command", "env", "envFrom", "image", "imagePullPolicy", "lifecycle", "livenessProbe",
        "startupProbe", "resizePolicy", "resources", "restartPolicy", "restartPolicyRules",
        "securityContext", "stdin", "stdinOnce", "terminationMessagePath", "terminationMessagePolicy", "tty",
        "volumeDevices", "volumeMounts", "workingDir",
    ]

    static let endpoint = ["deprecatedTopology"]
    static let serviceAccount = ["secrets", "imagePullSecrets", "automountServiceAccountToken"]
}
