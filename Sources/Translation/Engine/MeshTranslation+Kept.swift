import Mesh

extension MeshTranslation {
    /// The same classes in another state of the mesh, made by the way from this one to that.
    /// - Parameter changes: as ``follow(_:changes:)`` takes them.
    public func moved(to index: MeshIndex, changes: [MeshIndex.Change]) -> MeshTranslation {
        var copy = self
        _ = copy.follow(index, changes: changes)
        return copy
    }

    /// Follows the mesh to a new state beside another translation that has followed it: resources that both show are
    /// one object in memory.
    public mutating func follow(
        _ index: MeshIndex, changes: [MeshIndex.Change], beside other: inout MeshTranslation
    ) -> ViewChanges {
        swap(&maker.interning, &other.maker.interning)
        defer { swap(&maker.interning, &other.maker.interning) }
        return follow(index, changes: changes)
    }
}
