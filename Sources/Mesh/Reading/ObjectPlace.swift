import Documents

/// The way to a value within its object: a link to what holds it, text only when it is asked for.
final class ObjectPath: Sendable {
    let parent: ObjectPath?
    let step: DocumentPath.Step

    init(_ step: DocumentPath.Step, in parent: ObjectPath?) {
        self.step = step
        self.parent = parent
    }

    var steps: [DocumentPath.Step] {
        var steps: [DocumentPath.Step] = []
        var link: ObjectPath? = self
        while let path = link {
            steps.append(path.step)
            link = path.parent
        }
        return steps.reversed()
    }
}

/// What was found while one text is read.
final class ReadingLog {
    let file: String?
    /// The object that is being read, once its name is known.
    var object: ObjectKey?
    private(set) var errors: [MeshFinding] = []
    private(set) var omitted = 0
    /// Of the object that is being read.
    var warnings: [MeshFinding] = []

    init(file: String?) {
        self.file = file
    }

    /// Whether one more error is told: if not, nobody needs to think of its words.
    var hasRoom: Bool { errors.count < ObjectErrors.limit }

    func fail(_ finding: @autoclosure () -> MeshFinding) {
        if hasRoom { errors.append(finding()) } else { omitted += 1 }
    }

    var failures: ObjectErrors? {
        errors.isEmpty ? nil : ObjectErrors(errors.sorted(), omitted: omitted)
    }
}

/// A place in an object at which something is read, and where its errors go.
struct ObjectPlace {
    let path: ObjectPath?
    let log: ReadingLog

    var pathText: String { DocumentPath(path?.steps ?? []).description }

    func field(_ name: String) -> ObjectPlace { ObjectPlace(path: ObjectPath(.field(name), in: path), log: log) }
    func index(_ index: Int) -> ObjectPlace { ObjectPlace(path: ObjectPath(.index(index), in: path), log: log) }
    func key(_ key: String) -> ObjectPlace { ObjectPlace(path: ObjectPath(.key(key), in: path), log: log) }

    func fail(
        _ kind: MeshFinding.Kind, at position: SourcePosition, _ words: @autoclosure () -> String,
        mend: @autoclosure () -> String
    ) {
        log.fail(
            MeshFinding(
                .error, kind, object: log.object, file: log.file, position: position, path: pathText, words(),
                mend: mend()))
    }

    func mismatch(_ expected: String, _ node: DocumentNode, mend: String) {
        fail(.wrongType, at: node.position, "expected \(expected), found \(node.noun)", mend: mend)
    }
}
