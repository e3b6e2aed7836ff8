package main

func (g *gallery) attacks() {}
